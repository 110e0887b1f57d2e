package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
)

// order is what the process of a data centre is told to do: one of its fields is set.
type order struct {
	// Begin makes accounts, each with channels of its own.
	Begin *world `json:"begin,omitempty"`
	// Post lets that many messages be posted, in all channels by turns.
	Post *posts `json:"post,omitempty"`
	// Tell asks what has happened.
	Tell bool `json:"tell,omitempty"`
}

type world struct {
	Accounts int `json:"accounts"`
	Channels int `json:"channels"`
}

type posts struct {
	Count int `json:"count"`
	// Rate is how many a second; 0 for as fast as it goes.
	Rate float64 `json:"rate"`
}

// answer is what it says to an order.
type answer struct {
	Addr      string   `json:"addr,omitempty"`
	PublicKey []byte   `json:"public_key,omitempty"`
	Phones    []string `json:"phones,omitempty"`
	// Took is how long the posts took.
	Took time.Duration `json:"took,omitempty"`
	// Messages are the ids of the messages of each channel, and Differences how many differences of channels were asked for.
	Messages    map[int64][]int `json:"messages,omitempty"`
	Differences int             `json:"differences,omitempty"`
}

// signInCode is what every account of a bench signs in with.
const signInCode = "22222"

// ServeDataCentre is a data centre that does what it is told on in and answers on out, until in ends.
func ServeDataCentre(ctx context.Context, in io.Reader, out io.Writer) error {
	server, err := datacentre.New(datacentre.Config{Seed: 1})
	if err != nil {
		return err
	}
	if err := server.Start(ctx); err != nil {
		return err
	}
	defer server.Stop()
	s := &serving{server: server}
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read an order: %w", err)
		}
		done := s.obey(o) //nolint:contextcheck // a push is bounded by itself, and ends with the server
		if err := answers.Encode(done); err != nil {
			return fmt.Errorf("answer an order: %w", err)
		}
	}
}

// serving is a data centre and its channels.
type serving struct {
	server *datacentre.Server
	chats  []*datacentre.Chat
	posted int
}

func (s *serving) obey(o order) answer {
	switch {
	case o.Begin != nil:
		return s.begin(*o.Begin)
	case o.Post != nil:
		return s.post(*o.Post)
	default:
		return s.tell()
	}
}

func (s *serving) begin(w world) answer {
	told := answer{Addr: s.server.Addr(), PublicKey: s.server.PublicKey()}
	for i := range w.Accounts {
		who := s.server.AddAccount(datacentre.Account{FirstName: "Bench", Phone: fmt.Sprintf("99966%05d", i), Code: signInCode})
		told.Phones = append(told.Phones, who.Phone)
		for range w.Channels {
			s.chats = append(s.chats, s.server.AddChat(datacentre.Channel, "Main Channel", who))
		}
	}
	return told
}

// text is what posts say: as long as posts are.
const text = "The ferry from the old harbour leaves ten minutes later today because of the wind; tickets of yesterday stay good until Sunday. " +
	"Whoever has a bicycle please comes early: there is room for twelve of them on the lower deck."

// paceEvery is how often as many messages are posted as the rate asks for.
const paceEvery = 5 * time.Millisecond

func (s *serving) post(p posts) answer {
	began := time.Now()
	pace := time.NewTicker(paceEvery)
	defer pace.Stop()
	for n := 0; n < p.Count; {
		due := p.Count
		if p.Rate > 0 {
			<-pace.C
			due = min(p.Count, int(time.Since(began).Seconds()*p.Rate))
		}
		for ; n < due; n++ {
			s.server.Post(s.chats[s.posted%len(s.chats)], text)
			s.posted++
		}
	}
	return answer{Took: time.Since(began)}
}

func (s *serving) tell() answer {
	told := answer{Messages: map[int64][]int{}, Differences: s.server.Calls("updates.getChannelDifference")}
	for _, c := range s.chats {
		ids := []int{}
		for _, m := range s.server.History(c) {
			ids = append(ids, m.ID)
		}
		told.Messages[c.ID] = ids
	}
	return told
}

// child is a data centre in a process of its own. It belongs to one goroutine.
type child struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	orders  *json.Encoder
	answers *json.Decoder
}

func startChild(cmd *exec.Cmd) (*child, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a data centre: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a data centre: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a data centre: %w", err)
	}
	return &child{cmd: cmd, in: in, orders: json.NewEncoder(in), answers: json.NewDecoder(out)}, nil
}

// do gives an order and waits until it is done.
func (c *child) do(o order) (done answer, err error) {
	if err := c.orders.Encode(o); err != nil {
		return answer{}, fmt.Errorf("tell the data centre: %w", err)
	}
	if err := c.answers.Decode(&done); err != nil {
		return answer{}, fmt.Errorf("hear from the data centre: %w", err)
	}
	return done, nil
}

// end lets the process end, and waits for that.
func (c *child) end() error {
	return errors.Join(c.in.Close(), c.cmd.Wait())
}
