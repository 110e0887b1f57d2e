package seal_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/seal"
)

func TestSecretPrintsSealedEverywhere(t *testing.T) {
	t.Parallel()
	const hidden = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
	secret := seal.Secret(hidden)
	holder := struct {
		Token  seal.Secret            `json:"token"`
		List   []seal.Secret          `json:"list"`
		ByName map[string]seal.Secret `json:"by_name"`
		ByKey  map[seal.Secret]int    `json:"-"`
		At     *seal.Secret           `json:"at"`
	}{secret, []seal.Secret{secret}, map[string]seal.Secret{"a": secret}, map[seal.Secret]int{secret: 1}, &secret}

	prints := map[string]string{
		"print": fmt.Sprint("token ", secret), "error": fmt.Errorf("call %v: %w", secret, errors.New("x")).Error(),
		"String": secret.String(), "GoString": secret.GoString(), "concatenated": "a" + fmt.Sprintln(secret),
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%10.3s", "%-50v", "%U"} {
		prints[verb] = fmt.Sprintf(verb, secret)
		prints[verb+" in a struct"] = fmt.Sprintf(verb, holder)
	}
	for name, handler := range map[string]func(b *bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).Info("call", "token", secret, "holder", holder, "list", holder.List)
		prints[name] = b.String()
	}
	inJSON, err := json.Marshal(holder)
	require.NoError(t, err)
	prints["json"] = string(inJSON)
	inXML, err := xml.Marshal(secret)
	require.NoError(t, err)
	prints["xml"] = string(inXML)

	inHex := fmt.Sprintf("%x", hidden)
	for how, printed := range prints {
		require.Contains(t, printed, "[sealed]", how)
		require.NotContains(t, printed, hidden[:12], how)
		require.NotContains(t, strings.ToLower(strings.ReplaceAll(printed, " ", "")), inHex[:12], how)
	}
	require.Equal(t, hidden, secret.Reveal())
}
