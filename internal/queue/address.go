package queue

import (
	"context"
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
		"redis-sentinel://[user:password@]host[:port],...[/database]?master=name[&sentinel_password=...][&replicas=1][&tls=true], or " +
		"redis-cluster://[user:password@]host[:port],...[?replicas=1][&tls=true]; with TLS, options ca_file=path for an authority " +
		"of your own, and cert_file=path&key_file=path where Redis wants to know its clients"
)

// address is what a Redis URL says.
type address struct {
	redis.UniversalOptions
	// replicas is how many replicas must have a task before it counts as put.
	replicas int
}

// parseAddress reads a Redis URL, and the files that it names. It does not use package net/url for the whole: that one refuses a list of
// hosts, and its errors repeat the URL. No part of the URL gets into the error, because in a malformed one any part may be the password.
func parseAddress(text seal.Secret) (address, error) {
	parsed, err := parse(text.Reveal())
	if err != nil {
		return address{}, fmt.Errorf("redis URL: %w; want %s", err, addressForms)
	}
	return parsed, nil
}

// grouped says that Redis is several servers, of which some take over for others.
func (a address) grouped() bool { return a.IsClusterMode || a.MasterName != "" }

type malformed string

func (m malformed) Error() string { return string(m) }

func parse(text string) (options address, err error) {
	scheme, rest, _ := strings.Cut(text, "://")
	port := redisPort
	switch scheme {
	case schemePlain, schemeTLS:
	case schemeSentinel:
		port = sentinelPort
		options.replicas = 1
	case schemeCluster:
		options.IsClusterMode = true
		options.replicas = 1
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
	security, err := parseQuery(query, scheme, &options)
	if err != nil {
		return options, err
	}
	if options.TLSConfig, err = security.config(); err == nil && scheme == schemeTLS {
		options.TLSConfig.ServerName, _, err = net.SplitHostPort(options.Addrs[0])
	}
	return options, err
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

func parseQuery(text, scheme string, options *address) (with security, err error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return with, malformed("the options after ? are malformed")
	}
	group := scheme == schemeSentinel || scheme == schemeCluster
	with.on = scheme == schemeTLS
	for name, value := range values {
		switch {
		case len(value) != 1:
			return with, malformed("an option is given twice")
		case name == "master" && scheme == schemeSentinel:
			options.MasterName = value[0]
		case name == "sentinel_password" && scheme == schemeSentinel:
			options.SentinelPassword = value[0]
		case name == "replicas" && group:
			if options.replicas, err = strconv.Atoi(value[0]); err != nil || options.replicas < 0 {
				return with, malformed("replicas is no number")
			}
		case name == "tls" && group:
			if with.on, err = strconv.ParseBool(value[0]); err != nil {
				return with, malformed("tls is neither true nor false")
			}
		case name == "ca_file":
			with.authority = value[0]
		case name == "cert_file":
			with.certificate = value[0]
		case name == "key_file":
			with.key = value[0]
		default:
			return with, malformed("unknown option")
		}
	}
	if scheme == schemeSentinel && options.MasterName == "" {
		return with, malformed("the name of the master is missing")
	}
	return with, nil
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

// topologyWithin is how old a cluster client's picture of the cluster gets. go-redis asks at once when a node sends it elsewhere, but a
// master that is dead sends nobody anywhere: without this its place would be looked for there for a minute.
const topologyWithin = time.Second

// client returns a client with what every connection of ours has in common; through may add something to the way it is opened. Nothing
// is repeated inside the client: whoever calls knows its deadline, and what else it can do with a command that failed.
func (a address) client(poolSize int, through func(dialer) dialer) redis.UniversalClient {
	options := a.UniversalOptions
	options.Dialer = through(newDialer(options.TLSConfig))
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
	if !options.IsClusterMode {
		return redis.NewUniversalClient(&options)
	}
	cluster := options.Cluster()
	cluster.ClusterStateReloadInterval = topologyWithin
	return redis.NewClusterClient(cluster)
}
