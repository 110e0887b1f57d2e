package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/seal"
)

const (
	embedded    = "embedded"
	telegramURL = "https://api.telegram.org"

	day = 24 * time.Hour

	wantAddr = "HOST:PORT, or :PORT for every address of the machine"
	wantURL  = "http:// or https://, a host and perhaps a path"
	wantNets = "networks like 10.0.0.0/8 or single addresses, with commas between"
)

// errWrong says of a value no more than that it is not what the table wants.
var errWrong = errors.New("wrong")

// databaseURL leaves out what url.Parse says: it repeats the URL, and the password in it.
func databaseURL(into *seal.Secret, text string) error {
	*into = seal.Secret(text)
	if path, isFile := strings.CutPrefix(text, "sqlite:"); isFile {
		return wrongUnless(path != "")
	}
	u, err := url.Parse(text)
	// The host may be missing: it may stand in the query, as a socket's folder does.
	return wrongUnless(err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") && u.Opaque == "")
}

func redisURL(into *seal.Secret, command Command, text string) error {
	*into = seal.Secret(text)
	if text == embedded {
		return wrongUnless(command == ForUp || command == ForOperator)
	}
	// What follows the scheme is judged where it is used: with several hosts it is no URL by net/url's rules.
	scheme, rest, _ := strings.Cut(text, "://")
	schemes := []string{"redis", "rediss", "redis-sentinel", "redis-cluster"}
	return wrongUnless(slices.Contains(schemes, scheme) && rest != "")
}

func secretKeys(into *seal.Secret, text string) error {
	*into = seal.Secret(text)
	if _, err := seal.ParseRing(*into); err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

func botToken(into *seal.Secret, text string) error {
	*into = seal.Secret(text)
	_, ok := account.BotIDOfToken(text)
	return wrongUnless(ok)
}

func apiHash(into *seal.Secret, text string) error {
	*into = seal.Secret(text)
	raw, err := hex.DecodeString(text)
	return wrongUnless(err == nil && len(raw) == 16)
}

func dataCentre(into *Telegram, text string) error {
	id, addr, found := strings.Cut(text, "=")
	if !found {
		return errWrong
	}
	if err := positive(&into.DC, id, math.MaxInt16); err != nil {
		return err
	}
	return address(&into.DCAddr, addr)
}

func address(into *string, text string) error {
	*into = text
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return errWrong
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return wrongUnless(err == nil)
}

func webURL(into *string, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errWrong
	}
	*into = strings.TrimRight(text, "/")
	return nil
}

func networks(into *[]netip.Prefix, text string) error {
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		network, err := netip.ParsePrefix(part)
		if err != nil {
			single, err := netip.ParseAddr(part)
			if err != nil {
				return fmt.Errorf("%q is no network: want %s", part, wantNets)
			}
			network = netip.PrefixFrom(single, single.BitLen())
		}
		if network.Masked() != network {
			return fmt.Errorf("%q has bits beyond its length: want %s", part, network.Masked())
		}
		*into = append(*into, network)
	}
	return nil
}

// positive reads a number from 1 to most.
func positive(into *int, text string, most int) error {
	n, err := strconv.Atoi(text)
	*into = n
	return wrongUnless(err == nil && n >= 1 && n <= most)
}

func duration(into *time.Duration, text string, least, most time.Duration) error {
	if strings.Trim(text, "0123456789.") == "" {
		return fmt.Errorf("the unit is missing: write %ss for seconds", text)
	}
	d, err := time.ParseDuration(text)
	*into = d
	return wrongUnless(err == nil && d >= least && d <= most)
}

// retention takes whole days beside what a duration may be, because nobody counts days in hours; 0 is for keeping everything.
func retention(into *time.Duration, text string, least, most time.Duration) error {
	if text == "0" {
		*into = 0
		return nil
	}
	if strings.Trim(text, "0123456789.") == "" {
		return fmt.Errorf("the unit is missing: write %sd for days", text)
	}
	if days, inDays := strings.CutSuffix(text, "d"); inDays {
		n, err := strconv.ParseUint(days, 10, 16)
		*into = time.Duration(n) * day
		return wrongUnless(err == nil && (n == 0 || *into >= least && *into <= most))
	}
	d, err := time.ParseDuration(text)
	*into = d
	return wrongUnless(err == nil && (d == 0 || d >= least && d <= most))
}

func level(into *slog.Level, text string) error {
	var word string
	if err := oneOf(&word, text, "debug", "info", "warn", "error"); err != nil {
		return err
	}
	return into.UnmarshalText([]byte(word))
}

func oneOf(into *string, text string, words ...string) error {
	*into = strings.ToLower(text)
	return wrongUnless(slices.Contains(words, *into))
}

func wrongUnless(right bool) error {
	if right {
		return nil
	}
	return errWrong
}
