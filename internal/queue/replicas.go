package queue

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// A master answers before its replicas have what it answered for, so a failover can lose it. awaitReplicas closes that gap for what may not
// be lost: right behind the write goes a WAIT, in the same packet on the same connection (a WAIT looks at the writes of its own
// connection only), and the write counts once so many replicas have confirmed. That is no consensus: docs/durability.md says what
// can be lost all the same.

const (
	// confirmAtMost is how long replicas may take to confirm, where the caller's deadline leaves that much.
	confirmAtMost = 300 * time.Millisecond
	// Of the time that is left WAIT gets three fifths: the rest is for its answer.
	confirmShare, confirmShareOf = 3, 5
)

var errUnconfirmed = errors.New("too few replicas have confirmed the write")

type replicatedKey struct{}

// replicated returns a context whose writes count only once replicas have them, where the address asks for it.
func replicated(ctx context.Context) context.Context {
	return context.WithValue(ctx, replicatedKey{}, true)
}

// awaitReplicas makes client wait for replicas with the writes of a replicated context.
func awaitReplicas(client redis.UniversalClient, replicas int) {
	if replicas == 0 {
		return
	}
	switch client := client.(type) {
	case *redis.ClusterClient:
		// Below the cluster's own client, so that it still follows the slots when they move.
		client.OnNewNode(func(node *redis.Client) { node.AddHook(&confirmation{node, replicas}) })
	case *redis.Client:
		client.AddHook(&confirmation{client, replicas})
	}
}

// confirmation is the hook of a client of one server, or of whoever is the master.
type confirmation struct {
	client   *redis.Client
	replicas int
}

// DialHook implements redis.Hook.
func (c *confirmation) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// worthIt says whether a command puts a task, or writes the key of a Probe. The rest is not: what prepares a connection, or lists a
// queue's name for asynq's tools.
func worthIt(cmd redis.Cmder) bool {
	switch cmd.Name() {
	case "evalsha", "eval", "set":
		return true
	default:
		return false
	}
}

// ProcessHook implements redis.Hook. It makes a pipeline of the command, for ProcessPipelineHook.
func (c *confirmation) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if ctx.Value(replicatedKey{}) == nil || !worthIt(cmd) {
			return next(ctx, cmd)
		}
		_, err := c.client.Pipelined(ctx, func(pipe redis.Pipeliner) error { return pipe.Process(ctx, cmd) })
		return err
	}
}

// ProcessPipelineHook implements redis.Hook.
func (c *confirmation) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if ctx.Value(replicatedKey{}) == nil || !slices.ContainsFunc(cmds, worthIt) {
			return next(ctx, cmds)
		}
		wait := redis.NewIntCmd(ctx, "wait", c.replicas, confirmWithin(ctx).Milliseconds())
		if err := next(ctx, append(slices.Clip(cmds), wait)); err != nil {
			return err
		}
		if wait.Val() < int64(c.replicas) {
			return errUnconfirmed
		}
		return nil
	}
}

// confirmWithin returns how long replicas may take; never 0, which would mean for ever.
func confirmWithin(ctx context.Context) time.Duration {
	within := confirmAtMost
	if deadline, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(deadline)*confirmShare/confirmShareOf)
	}
	return max(within, time.Millisecond)
}
