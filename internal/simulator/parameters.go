package simulator

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// mostRequestBytes bounds a request's body; no method here takes a file.
const mostRequestBytes = 1 << 20

// parameters are a method's parameters by name, each as text: numbers and lists as JSON writes them.
type parameters map[string]string

// number reads a whole number; what is missing is standard, and what is out of range is moved to its end, as Telegram does.
// Source: tdlib/telegram-bot-api, Client::get_integer_arg.
func (p parameters) number(name string, standard, least, most int) int {
	text := p[name]
	if text == "" {
		return standard
	}
	value, _ := strconv.Atoi(text)
	return min(max(value, least), most)
}

func (p parameters) truth(name string) bool {
	switch strings.ToLower(p[name]) {
	case "true", "yes", "1":
		return true
	default:
		return false
	}
}

// readParameters reads the query, and a body of any form that the Bot API takes; the body wins. An empty body says nothing,
// whatever form it claims: some clients call methods without parameters so.
// Source: https://core.telegram.org/bots/api#making-requests.
func readParameters(rw http.ResponseWriter, r *http.Request) (parameters, *failure) {
	params := parameters{}
	params.take(r.URL.Query())
	body := bufio.NewReader(http.MaxBytesReader(rw, r.Body, mostRequestBytes))
	r.Body = io.NopCloser(body)
	if _, err := body.Peek(1); errors.Is(err, io.EOF) {
		return params, nil
	}
	form, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	var err error
	switch form {
	case "application/json":
		var values map[string]json.RawMessage
		if err = json.NewDecoder(r.Body).Decode(&values); err == nil {
			for name, value := range values {
				params[name] = plainText(value)
			}
		}
	case "multipart/form-data":
		if err = r.ParseMultipartForm(mostRequestBytes); err == nil { //nolint:gosec // the body is bounded above
			params.take(r.MultipartForm.Value)
			err = r.MultipartForm.RemoveAll()
		}
	case "application/x-www-form-urlencoded":
		if err = r.ParseForm(); err == nil {
			params.take(r.PostForm)
		}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &failure{code: http.StatusRequestEntityTooLarge, description: "Request Entity Too Large"}
	case err != nil:
		return nil, badRequest("can't parse the request")
	}
	return params, nil
}

func (p parameters) take(values map[string][]string) {
	for name, list := range values {
		if len(list) > 0 {
			p[name] = list[0]
		}
	}
}

// plainText returns a JSON value as a form would carry it: a string without its quotes, anything else as it stands.
func plainText(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	return string(value)
}

// addressOf returns the IP address in a URL, or nothing when a name stands there.
func addressOf(address string) string {
	parsed, err := url.Parse(address)
	if err != nil || net.ParseIP(parsed.Hostname()) == nil {
		return ""
	}
	return parsed.Hostname()
}
