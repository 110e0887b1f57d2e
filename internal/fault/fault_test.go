package fault_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/fault"
)

func TestOutermostClassWinsThroughWrapping(t *testing.T) {
	t.Parallel()
	root := errors.New("connection refused")
	inner := fault.As(fault.Transient, fmt.Errorf("dial: %w", root))
	outer := fmt.Errorf("flush: %w", fault.As(fault.Permanent, fmt.Errorf("put: %w", inner)))

	require.Equal(t, fault.Permanent, fault.ClassOf(outer))
	require.Equal(t, fault.Transient, fault.ClassOf(inner))
	require.Equal(t, "flush: put: dial: connection refused", outer.Error(), "a class changes no text")
	require.ErrorIs(t, outer, root, "a class hides no cause")
}

func TestNothingIsClassifiedUnasked(t *testing.T) {
	t.Parallel()
	require.Equal(t, fault.Unclassified, fault.ClassOf(nil))
	require.Equal(t, fault.Unclassified, fault.ClassOf(errors.New("odd")))
	require.NoError(t, fault.As(fault.Permanent, nil))
	require.NoError(t, fault.Throttle(time.Second, nil))
}

func TestAfterTellsTheWaitOfThrottledErrorsOnly(t *testing.T) {
	t.Parallel()
	after, ok := fault.After(fmt.Errorf("send: %w", fault.Throttle(3*time.Second, errors.New("too many requests"))))
	require.True(t, ok)
	require.Equal(t, 3*time.Second, after)

	_, ok = fault.After(fault.As(fault.Transient, errors.New("timeout")))
	require.False(t, ok)
}

func TestEveryClassHasAWordOfItsOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for c := fault.Unclassified; c <= fault.Unauthorized; c++ {
		require.False(t, seen[c.String()], c.String())
		seen[c.String()] = true
	}
}
