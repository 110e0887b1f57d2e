package bench

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/tg"
)

// limitFor is for how long a limit is measured.
const limitFor = time.Second

// limit is how many pushes a second of one core is enough for at the very most: to write them as TL, which gotd makes necessary because it does not
// hand out the bytes as they came, and to decrypt and read them before that.
type limit struct {
	written, read float64
}

// limits measures with a push like those that the data centre sends.
func limits() (l limit, err error) {
	push := pushLike()
	if l.written, err = repeat(func() error { return push.Encode(&bin.Buffer{}) }); err != nil {
		return limit{}, fmt.Errorf("write TL: %w", err)
	}
	var key crypto.Key
	if _, err := rand.Read(key[:]); err != nil {
		return limit{}, fmt.Errorf("make a key: %w", err)
	}
	var plain, sent bin.Buffer
	if err := push.Encode(&plain); err != nil {
		return limit{}, fmt.Errorf("write TL: %w", err)
	}
	err = crypto.NewServerCipher(rand.Reader).Encrypt(key.WithID(), crypto.EncryptedMessageData{
		MessageDataLen: int32(plain.Len()), MessageDataWithPadding: plain.Copy(), //nolint:gosec // a few hundred bytes
	}, &sent)
	if err != nil {
		return limit{}, fmt.Errorf("encrypt: %w", err)
	}
	here := crypto.NewClientCipher(rand.Reader)
	l.read, err = repeat(func() error {
		opened, err := here.DecryptFromBuffer(key.WithID(), &bin.Buffer{Buf: bytes.Clone(sent.Buf)})
		if err != nil {
			return err
		}
		u, err := tg.DecodeUpdates(&bin.Buffer{Buf: opened.Data()})
		if err != nil {
			return err
		}
		return u.Encode(&bin.Buffer{})
	})
	if err != nil {
		return limit{}, fmt.Errorf("decrypt and read TL: %w", err)
	}
	return l, nil
}

// pushLike returns a push as the data centre sends them.
func pushLike() *tg.Updates {
	post := &tg.Message{ID: 1000, Message: text, Date: int(time.Now().Unix()), PeerID: &tg.PeerChannel{ChannelID: 1001}, Post: true}
	channel := &tg.Channel{ID: 1001, Title: "Main Channel", Photo: &tg.ChatPhotoEmpty{}, Broadcast: true}
	channel.SetAccessHash(1)
	return &tg.Updates{
		Updates: []tg.UpdateClass{&tg.UpdateNewChannelMessage{Message: post, Pts: 1001, PtsCount: 1}}, Chats: []tg.ChatClass{channel},
		Date: post.Date,
	}
}

// repeat returns how often do can be done in a second of one core.
func repeat(do func() error) (perSecond float64, err error) {
	began, used := time.Now(), processorTime()
	for n := 1; ; n++ {
		if err := do(); err != nil {
			return 0, err
		}
		if passed := time.Since(began); passed > limitFor {
			if usedUp := processorTime() - used; usedUp > 0 {
				passed = usedUp
			}
			return float64(n) / passed.Seconds(), nil
		}
	}
}
