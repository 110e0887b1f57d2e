package queue

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/tgfleet/tgfleet/internal/seal"
)

const (
	schemePlain    = "redis"
	schemeTLS      = "rediss"
	schemeSentinel = "redis-sentinel"
	schemeCluster  = "redis-cluster"

	redisPort    = "6379"
	sentinelPort = "26379"

	addressForms = "redis://[user:password@]host[:port][/database], the same with rediss:// for TLS, " +
		"redis-sentinel://[user:password@]host[:port],...[/database]?master=name[&sentinel_password=...][&tls=true], or " +
		"redis-cluster://[user:password@]host[:port],...[?tls=true]"
)

// parseAddress reads a Redis URL. It does not use package net/url for the whole: that one refuses a list of hosts, and its errors
// repeat the URL. No part of the URL gets into the error, because in a malformed one any part may be the password.
func parseAddress(address seal.Secret) (redis.UniversalOptions, error) {
	options, err := parse(address.Reveal())
	if err != nil {
		return redis.UniversalOptions{}, fmt.Errorf("redis URL: %w; want %s", err, addressForms)
	}
	return options, nil
}

type malformed string

func (m malformed) Error() string { return string(m) }

func parse(text string) (options redis.UniversalOptions, err error) {
	scheme, rest, _ := strings.Cut(text, "://")
	port := redisPort
	switch scheme {
	case schemePlain, schemeTLS:
	case schemeSentinel:
		port = sentinelPort
	case schemeCluster:
		options.IsClusterMode = true
	default:
		return options, malformed("unknown scheme")
	}
	rest, query, _ := strings.Cut(rest, "?")
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		if options.Username, options.Password, err = parseUser(rest[:at]); err != nil {
			return options, err
		}
		rest = rest[at+1:]
	}
	hosts, database, _ := strings.Cut(rest, "/")
	if options.Addrs, err = parseHosts(hosts, port); err != nil {
		return options, err
	}
	if len(options.Addrs) > 1 && (scheme == schemePlain || scheme == schemeTLS) {
		return options, malformed("more than one host")
	}
	if database != "" {
		if options.DB, err = strconv.Atoi(database); err != nil || options.DB < 0 {
			return options, malformed("the database is no number")
		}
	}
	if options.IsClusterMode && options.DB != 0 {
		return options, malformed("a cluster has no databases")
	}
	withTLS, err := parseQuery(query, scheme, &options)
	if err != nil {
		return options, err
	}
	if withTLS || scheme == schemeTLS {
		host, _, _ := net.SplitHostPort(options.Addrs[0])
		options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if scheme == schemeTLS {
			options.TLSConfig.ServerName = host
		}
	}
	return options, nil
}

func parseUser(text string) (user, password string, err error) {
	user, password, _ = strings.Cut(text, ":")
	if user, err = url.PathUnescape(user); err == nil {
		password, err = url.PathUnescape(password)
	}
	if err != nil {
		return "", "", malformed("user and password must be percent-encoded")
	}
	return user, password, nil
}

func parseHosts(text, defaultPort string) ([]string, error) {
	var addresses []string
	for item := range strings.SplitSeq(text, ",") {
		host, port, err := net.SplitHostPort(item)
		if err != nil {
			host, port = strings.TrimSuffix(strings.TrimPrefix(item, "["), "]"), defaultPort
		}
		if strings.Contains(host, ":") {
			if _, err := netip.ParseAddr(host); err != nil {
				return nil, malformed("a host is malformed")
			}
		}
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return nil, malformed("a port is no number from 1 to 65535")
		}
		if host == "" {
			return nil, malformed("a host is missing")
		}
		addresses = append(addresses, net.JoinHostPort(host, port))
	}
	return addresses, nil
}

func parseQuery(text, scheme string, options *redis.UniversalOptions) (withTLS bool, err error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return false, malformed("the options after ? are malformed")
	}
	for name, value := range values {
		switch {
		case len(value) != 1:
			return false, malformed("an option is given twice")
		case name == "master" && scheme == schemeSentinel:
			options.MasterName = value[0]
		case name == "sentinel_password" && scheme == schemeSentinel:
			options.SentinelPassword = value[0]
		case name == "tls" && (scheme == schemeSentinel || scheme == schemeCluster):
			if withTLS, err = strconv.ParseBool(value[0]); err != nil {
				return false, malformed("tls is neither true nor false")
			}
		default:
			return false, malformed("unknown option")
		}
	}
	if scheme == schemeSentinel && options.MasterName == "" {
		return false, malformed("the name of the master is missing")
	}
	return withTLS, nil
}

// Bounds of one command where the caller's ctx sets no earlier one.
const (
	dialWithin    = time.Second
	commandWithin = 3 * time.Second
)

// dialer opens one connection.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// direct adds nothing to a dialer.
func direct(next dialer) dialer { return next }

// tuned returns options with what every connection of ours has in common; through may add something to the way it is opened. Nothing
// is repeated inside the client: whoever calls knows its deadline, and what else it can do with a command that failed.
func tuned(options redis.UniversalOptions, poolSize int, through func(dialer) dialer) *redis.UniversalOptions {
	options.Dialer = through(redis.NewDialer(&redis.Options{DialTimeout: dialWithin, TLSConfig: options.TLSConfig}))
	options.ContextTimeoutEnabled = true
	options.MaxRetries = -1
	options.DialerRetries = 1
	options.DialTimeout = dialWithin
	options.ReadTimeout = commandWithin
	options.WriteTimeout = commandWithin
	options.PoolSize = poolSize
	options.PipelinePoolSize = -1
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return &options
}
