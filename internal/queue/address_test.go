package queue

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/seal"
)

func TestAddressOfEachKindIsUnderstood(t *testing.T) {
	t.Parallel()
	plain, err := parseAddress("redis://localhost")
	require.NoError(t, err)
	require.Equal(t, []string{"localhost:6379"}, plain.Addrs)
	require.Nil(t, plain.TLSConfig)
	require.False(t, plain.IsClusterMode)

	full, err := parseAddress("redis://app:p%40ss%2Fword@[::1]:7000/3")
	require.NoError(t, err)
	require.Equal(t, []string{"[::1]:7000"}, full.Addrs)
	require.Equal(t, "app", full.Username)
	require.Equal(t, "p@ss/word", full.Password)
	require.Equal(t, 3, full.DB)

	secure, err := parseAddress("rediss://:secret@redis.example/")
	require.NoError(t, err)
	require.Equal(t, "redis.example", secure.TLSConfig.ServerName)
	require.Equal(t, "secret", secure.Password)
	require.Empty(t, secure.Username)

	sentinel, err := parseAddress("redis-sentinel://:secret@a,b:27000,c/2?master=main&sentinel_password=other&tls=true")
	require.NoError(t, err)
	require.Equal(t, []string{"a:26379", "b:27000", "c:26379"}, sentinel.Addrs)
	require.Equal(t, "main", sentinel.MasterName)
	require.Equal(t, "secret", sentinel.Password)
	require.Equal(t, "other", sentinel.SentinelPassword)
	require.Equal(t, 2, sentinel.DB)
	require.NotNil(t, sentinel.TLSConfig)
	require.Empty(t, sentinel.TLSConfig.ServerName, "each host is checked by its own name")
	require.Equal(t, 1, sentinel.replicas)

	cluster, err := parseAddress("redis-cluster://a:7000,b:7001")
	require.NoError(t, err)
	require.True(t, cluster.IsClusterMode)
	require.Equal(t, []string{"a:7000", "b:7001"}, cluster.Addrs)
	require.Equal(t, 1, cluster.replicas)
	require.Zero(t, plain.replicas)

	cautious, err := parseAddress("redis-cluster://a?replicas=2")
	require.NoError(t, err)
	require.Equal(t, 2, cautious.replicas)
}

func TestWrongAddressSaysWhatWouldBeRightAndShowsNothing(t *testing.T) {
	t.Parallel()
	for address, reason := range map[string]string{
		"":                                       "unknown scheme",
		"hunter2":                                "unknown scheme",
		"postgres://:hunter2@host":               "unknown scheme",
		"redis://":                               "a host is missing",
		"redis://:hunter2@":                      "a host is missing",
		"redis://:hunter2@host:70000":            "a port is no number",
		"redis://:hunter2@host:0":                "a port is no number",
		"redis://:hunter2@ho:st:1":               "a host is malformed",
		"redis://:hunter2%zz@host":               "percent-encoded",
		"redis://:hunter2@host/first":            "no number",
		"redis://:hunter2@host/-1":               "no number",
		"redis://:hunter2@a,b":                   "more than one host",
		"redis://:hunter2@host?hunter2=1":        "unknown option",
		"redis://:hunter2@host?tls=true":         "unknown option",
		"redis://:hunter2@host?%zz":              "malformed",
		"redis-sentinel://:hunter2@host":         "name of the master",
		"redis-sentinel://h?master=a&master=b":   "twice",
		"redis-cluster://:hunter2@host/1":        "no databases",
		"redis-cluster://host?tls=hunter2":       "neither true nor false",
		"redis-cluster://:hunter2@host,,b?tls=1": "a host is missing",
		"redis-cluster://host?replicas=hunter2":  "replicas is no number",
		"redis-cluster://host?replicas=-1":       "replicas is no number",
		"redis://:hunter2@host?replicas=1":       "unknown option",
		"redis://:hunter2@host?ca_file=x":        "ca_file, cert_file and key_file need TLS",
		"redis-cluster://host?key_file=hunter2":  "ca_file, cert_file and key_file need TLS",
		"rediss://host?ca_file=/hunter2":         "ca_file does not exist",
		"rediss://host?ca_file=/":                "ca_file can't be read",
		"rediss://host?ca_file=address_test.go":  "ca_file holds no certificate in PEM",
		"rediss://host?cert_file=hunter2":        "cert_file and key_file belong together",

		"rediss://host?cert_file=hunter2&key_file=hunter2": "cert_file or key_file does not exist",
		"rediss://host?cert_file=tls.go&key_file=tls.go":   "cert_file and key_file hold no certificate with its key in PEM",
	} {
		_, err := parseAddress(seal.Secret(address))
		require.ErrorContains(t, err, reason, address)
		require.ErrorContains(t, err, "redis-sentinel://[user:password@]host[:port],...", address)
		require.NotContains(t, err.Error(), "hunter2", address)
	}
}

// FuzzParseAddress keeps options that name files out: their reading is the system's.
func FuzzParseAddress(f *testing.F) {
	f.Add("redis-sentinel://u:p@a,b:1/2?master=m&tls=1")
	f.Add("rediss://[::1]:7")
	f.Fuzz(func(t *testing.T, address string) {
		if strings.Contains(address, "_file") {
			return
		}
		options, err := parseAddress(seal.Secret(address))
		if err == nil {
			require.NotEmpty(t, options.Addrs)
		}
	})
}
