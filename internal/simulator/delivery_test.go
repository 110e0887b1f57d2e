package simulator_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/simulator"
)

// always answers every request alike.
func always(status int, header ...string) func(int, arrival) (int, http.Header) {
	return func(int, arrival) (int, http.Header) { return status, headers(header...) }
}

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for name, list := range values(pairs...) {
		h.Set(name, list[0])
	}
	return h
}

// delivered runs test in a bubble, with a webhook set and deliveries running.
func delivered(t *testing.T, test func(t *testing.T, f *fixture), params ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		f.setWebhook(t, params...)
		f.run(t)
		test(t, f)
	})
}

// warm makes a success, so that all connections are in use from here.
func (f *fixture) warm(t *testing.T) {
	t.Helper()
	f.say(t, 1, "warm")
	synctest.Wait()
	require.Len(t, f.receiver.got(), 1)
}

func TestWebhookRequestsAreTelegrams(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		u := f.say(t, chatA, "hi")
		require.NoError(t, f.WaitDelivered(t.Context()))
		got := f.receiver.got()
		require.Len(t, got, 1)
		require.Equal(t, string(u.Raw), got[0].body)
		require.Contains(t, got[0].body, fmt.Sprintf(`{"update_id":%d,`+"\n"+`"message":{"message_id":1,"from":{"id":501,`, u.ID))
		require.Equal(t, secret, got[0].header.Get("X-Telegram-Bot-Api-Secret-Token"))
		require.Equal(t, "application/json", got[0].header.Get("Content-Type"))
		told := f.about(t, u)
		require.Equal(t, simulator.Acknowledged, told.Outcome)
		require.Equal(t, 1, told.Attempts)
		require.Equal(t, 1, told.Told)
		require.Equal(t, time.Now(), told.ToldAt)
	})
}

func TestOnlyTwoHundredsAreSuccess(t *testing.T) {
	t.Parallel()
	for status, success := range map[int]bool{
		200: true, 204: true, 299: true, 301: false, 304: false, 400: false, 404: false, 500: false, 503: false,
	} {
		delivered(t, func(t *testing.T, f *fixture) {
			f.receiver.answer = always(status, "Location", "https://elsewhere.test/")
			u := f.say(t, chatA, "x")
			pass(t, time.Second)
			require.Equal(t, success, f.about(t, u).Outcome == simulator.Acknowledged, status)
			require.Equal(t, success, f.about(t, u).Told > 0, status)
			info := f.webhookInfo(t)
			if success {
				require.NotContains(t, info, "last_error_date")
				return
			}
			require.InDelta(t, time.Now().Add(-time.Second).Unix(), info["last_error_date"], 0)
			require.Contains(t, info["last_error_message"], fmt.Sprintf("Wrong response from the webhook: %d", status))
			require.InDelta(t, 1, info["pending_update_count"], 0)
		})
	}
}

func TestRetrySeries(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		f.receiver.answer = always(http.StatusInternalServerError)
		f.say(t, chatA, "x")
		pass(t, 30*time.Minute)
		waits := f.receiver.waits()
		s := time.Second
		require.Equal(t, []time.Duration{0, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s}, waits[:6])
		require.Greater(t, len(waits), 15)
		for _, wait := range waits[6:] {
			require.GreaterOrEqual(t, wait, 60*s)
			require.LessOrEqual(t, wait, 120*s)
		}
		require.NotEqual(t, waits[8], waits[9], "it settles at a random time")
		for _, a := range f.receiver.got() {
			require.Equal(t, f.receiver.got()[0].body, a.body, "every try sends the same bytes")
		}
	})
}

func TestRetryAfterIsHonouredUpToAnHour(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{"5": 5 * time.Second, "3600": time.Hour, "99999": time.Hour} {
		delivered(t, func(t *testing.T, f *fixture) {
			f.receiver.answer = always(http.StatusServiceUnavailable, "Retry-After", header)
			f.say(t, chatA, "x")
			pass(t, 3*want+time.Second)
			require.Equal(t, []time.Duration{want, want, want}, f.receiver.waits())
		})
	}
	for _, header := range []string{"0", "-7", "soon"} {
		delivered(t, func(t *testing.T, f *fixture) {
			f.receiver.answer = always(http.StatusServiceUnavailable, "Retry-After", header)
			f.say(t, chatA, "x")
			pass(t, 3*time.Second)
			require.Equal(t, []time.Duration{0, 2 * time.Second}, f.receiver.waits(), "%s is none", header)
		})
	}
}

func TestRetryAfterDoesNotMoveTheSeriesOn(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		f.receiver.answer = func(n int, _ arrival) (int, http.Header) {
			if n == 0 {
				return http.StatusServiceUnavailable, headers("Retry-After", "30")
			}
			return http.StatusServiceUnavailable, nil
		}
		f.say(t, chatA, "x")
		pass(t, 40*time.Second)
		require.Equal(t, []time.Duration{30 * time.Second, 2 * time.Second, 4 * time.Second}, f.receiver.waits())
	})
}

func TestAnswersAreWaitedForAMinute(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		f.receiver.hold = make(chan struct{})
		u := f.say(t, chatA, "x")
		pass(t, 59*time.Second)
		require.Len(t, f.receiver.got(), 1)
		pass(t, 2*time.Second)
		require.Len(t, f.receiver.got(), 2)
		require.Equal(t, "Read timeout expired", f.webhookInfo(t)["last_error_message"])
		close(f.receiver.hold)
		require.NoError(t, f.WaitDelivered(t.Context()))
		require.Equal(t, 1, f.about(t, u).Told)
	})
}

func TestOneInFlightForEachQueue(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		f.warm(t)
		f.receiver.hold = make(chan struct{})
		one, two := f.say(t, chatA, "1"), f.say(t, chatA, "2")
		other := f.say(t, chatB, "3")
		synctest.Wait()
		require.ElementsMatch(t, []int64{one.ID, other.ID}, f.receiver.ids()[1:], "the second of a chat waits for the first")

		f.receiver.answer = func(_ int, got arrival) (int, http.Header) {
			if got.id == one.ID && len(f.receiver.got()) < 5 {
				return http.StatusBadGateway, nil
			}
			return http.StatusOK, nil
		}
		close(f.receiver.hold)
		pass(t, 10*time.Second)
		mine := slices.DeleteFunc(f.receiver.ids(), func(id int64) bool { return id != one.ID && id != two.ID })
		require.Equal(t, two.ID, mine[len(mine)-1])
		require.NotContains(t, mine[:len(mine)-1], two.ID, "and for all of its tries")
		require.NoError(t, f.WaitDelivered(t.Context()))
	})
}

func TestQueuesOfTheKinds(t *testing.T) {
	t.Parallel()
	allKinds, err := json.Marshal(ingest.Kinds)
	require.NoError(t, err)
	const chat, user = `{"chat":{"id":5},"from":{"id":6}}`, `{"from":{"id":5},"id":"q"}`
	for _, c := range []struct {
		first, second ingest.Kind
		one, two      string
		apart         bool
	}{
		{"message", "edited_message", chat, chat, false},
		{"message", "channel_post", chat, chat, false},
		{"channel_post", "edited_channel_post", chat, chat, false},
		{"message", "message", chat, `{"chat":{"id":6},"from":{"id":6}}`, true},
		{"callback_query", "callback_query", user, user, false},
		{"callback_query", "callback_query", user, `{"from":{"id":6}}`, true},
		{"callback_query", "inline_query", user, user, true},
		{"inline_query", "inline_query", user, user, false},
		{"shipping_query", "pre_checkout_query", user, user, false},
		{"message", "message_reaction", chat, chat, true},
		{"message_reaction", "message_reaction", chat, chat, false},
		{"message_reaction", "message_reaction_count", chat, chat, true},
		{"message", "my_chat_member", chat, chat, true},
		{"my_chat_member", "chat_member", chat, chat, true},
		{"message", "chat_boost", chat, chat, true},
		{"message", "business_message", chat, chat, true},
		{"business_message", "edited_business_message", chat, chat, false},
		{"business_message", "deleted_business_messages", chat, chat, true},
		{"business_connection", "business_connection", `{"user":{"id":5}}`, `{"user":{"id":5}}`, false},
		{"poll", "poll_answer", `{"id":"77"}`, `{"poll_id":"77"}`, false},
		{"stopped_message_generation", "stopped_message_generation", `{}`, `{}`, true},
		{"message", "message", `not even json`, `not even json`, true},
	} {
		delivered(t, func(t *testing.T, f *fixture) {
			f.warm(t)
			f.receiver.hold = make(chan struct{})
			_, err := f.Post(f.bot, c.first, []byte(c.one))
			require.NoError(t, err)
			_, err = f.Post(f.bot, c.second, []byte(c.two))
			require.NoError(t, err)
			synctest.Wait()
			require.Equal(t, c.apart, len(f.receiver.got()) == 3, "%s and %s", c.first, c.second)
			close(f.receiver.hold)
			require.NoError(t, f.WaitDelivered(t.Context()))
		}, "allowed_updates", string(allKinds))
	}
}

func TestMaxConnectionsBoundsWhatIsInFlight(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		f.warm(t)
		f.receiver.hold = make(chan struct{})
		for chat := range int64(20) {
			f.say(t, 10+chat, "x")
		}
		synctest.Wait()
		require.Equal(t, 7, f.receiver.mostAtOnce())
		close(f.receiver.hold)
		require.NoError(t, f.WaitDelivered(t.Context()))
		require.LessOrEqual(t, f.receiver.mostAtOnce(), 7)
	}, "max_connections", "7")
}

func TestFailingQueuesHoldUpTheOthersBeyondTheLookahead(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		f.warm(t)
		var mended atomic.Bool
		f.receiver.answer = func(_ int, got arrival) (int, http.Header) {
			if !mended.Load() && got.id != f.receiver.got()[0].id {
				return http.StatusInternalServerError, nil
			}
			return http.StatusOK, nil
		}
		for chat := range int64(6) {
			f.say(t, 10+chat, "x")
		}
		seventh := f.say(t, 99, "x")
		pass(t, time.Minute)
		require.Zero(t, f.about(t, seventh).Attempts)
		mended.Store(true)
		pass(t, 2*time.Minute)
		require.Equal(t, simulator.Acknowledged, f.about(t, seventh).Outcome)
	}, "max_connections", "3")
}

func TestWithoutSuccessForTenSecondsThereIsOneConnection(t *testing.T) {
	t.Parallel()
	for silence, want := range map[time.Duration]int{10 * time.Second: 5, 10*time.Second + 1: 1} {
		delivered(t, func(t *testing.T, f *fixture) {
			f.warm(t)
			pass(t, silence)
			f.receiver.hold = make(chan struct{})
			for chat := range int64(5) {
				f.say(t, 10+chat, "x")
			}
			synctest.Wait()
			require.Equal(t, want, f.receiver.mostAtOnce())
			f.receiver.hold <- struct{}{}
			synctest.Wait()
			require.GreaterOrEqual(t, f.receiver.mostAtOnce(), 4, "and with a success there are many again")
			close(f.receiver.hold)
			require.NoError(t, f.WaitDelivered(t.Context()))
		})
	}
}

func TestNewWebhookBeginsWithOneConnection(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		f.receiver.hold = make(chan struct{})
		for chat := range int64(5) {
			f.say(t, 10+chat, "x")
		}
		synctest.Wait()
		require.Equal(t, 1, f.receiver.mostAtOnce())
		close(f.receiver.hold)
		require.NoError(t, f.WaitDelivered(t.Context()))
	})
}

func TestUpdatesThatNobodyTakesAreDroppedInTheirTime(t *testing.T) {
	t.Parallel()
	for kind, life := range map[ingest.Kind]time.Duration{
		"message": 24 * time.Hour, "my_chat_member": 24 * time.Hour, "poll": 24 * time.Hour, "kind_of_tomorrow": 24 * time.Hour,
		"chosen_inline_result": 600 * time.Second, "custom_event": 600 * time.Second,
		"callback_query": 150 * time.Second, "shipping_query": 150 * time.Second, "pre_checkout_query": 150 * time.Second,
		"inline_query": 30 * time.Second,
	} {
		delivered(t, func(t *testing.T, f *fixture) {
			f.receiver.answer = always(http.StatusServiceUnavailable)
			start := time.Now()
			u, err := f.Post(f.bot, kind, []byte(`{"chat":{"id":5},"from":{"id":5}}`))
			require.NoError(t, err)
			require.NoError(t, f.WaitDelivered(t.Context()))
			require.Equal(t, simulator.Expired, f.about(t, u).Outcome)
			require.LessOrEqual(t, time.Since(start), life)
			require.Greater(t, time.Since(start), life/2-time.Second, "the try after that one would have been too late")
			require.Equal(t, 1, f.Oracle().Counts().Expired)
			require.Zero(t, f.about(t, u).Told)
		})
	}
}

func TestRetryAfterPastTheEndDropsAtOnce(t *testing.T) {
	t.Parallel()
	for wait, survives := range map[string]bool{"30": true, "31": false} {
		delivered(t, func(t *testing.T, f *fixture) {
			f.receiver.answer = always(http.StatusServiceUnavailable, "Retry-After", wait)
			u, err := f.Post(f.bot, "inline_query", []byte(`{"from":{"id":5}}`))
			require.NoError(t, err)
			synctest.Wait()
			require.Equal(t, survives, f.about(t, u).Outcome == simulator.Pending)
		})
	}
}

func TestUpdatesExpireWhileTheyWaitForTheirTurn(t *testing.T) {
	t.Parallel()
	// Behind the one connection that there is at first, and behind another query of the same person.
	for _, warm := range []bool{false, true} {
		delivered(t, func(t *testing.T, f *fixture) {
			query := func() simulator.Update {
				u, err := f.Post(f.bot, "inline_query", []byte(`{"from":{"id":5}}`))
				require.NoError(t, err)
				return u
			}
			if warm {
				f.warm(t)
			}
			f.receiver.hold = make(chan struct{})
			first := query()
			synctest.Wait()
			second := query()
			pass(t, 31*time.Second)
			close(f.receiver.hold)
			require.NoError(t, f.WaitDelivered(t.Context()))
			require.Equal(t, simulator.Acknowledged, f.about(t, first).Outcome, "an answer that comes late is still one")
			require.Equal(t, simulator.Expired, f.about(t, second).Outcome)
			require.Zero(t, f.about(t, second).Attempts)
		})
	}
}

func TestGoneForTwentyThreeHoursRemovesTheWebhook(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		f.receiver.answer = always(http.StatusGone)
		f.say(t, chatA, "x")
		pass(t, 23*time.Hour)
		require.NotEmpty(t, f.webhookInfo(t)["url"])
		pass(t, 10*time.Minute)
		require.Empty(t, f.webhookInfo(t)["url"])
		tries := len(f.receiver.got())
		later := f.say(t, chatB, "x")
		pass(t, 10*time.Minute)
		require.Len(t, f.receiver.got(), tries, "nothing is delivered any more")
		require.Contains(t, f.updates(t), later.ID, "and what is pending can be polled")
	})
}

func TestAnotherAnswerBreaksTheRowOfGone(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		start := time.Now()
		f.receiver.answer = func(int, arrival) (int, http.Header) {
			if age := time.Since(start); age > 12*time.Hour && age < 12*time.Hour+5*time.Minute {
				return http.StatusInternalServerError, nil
			}
			return http.StatusGone, nil
		}
		f.say(t, chatA, "x")
		pass(t, 25*time.Hour)
		require.NotEmpty(t, f.webhookInfo(t)["url"])
	})
}

func TestNewWebhookTakesOverWhatIsPending(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		f.receiver.hold = make(chan struct{})
		u := f.say(t, chatA, "x")
		pass(t, 2*time.Second)
		f.setWebhook(t, "url", "https://other.test")
		synctest.Wait()
		require.Equal(t, []int64{u.ID, u.ID}, f.receiver.ids(), "the request in flight is given up, and the update goes to the new one")
		close(f.receiver.hold)
		require.NoError(t, f.WaitDelivered(t.Context()))
		require.Equal(t, 1, f.about(t, u).Told)
	})
}

func TestStoppedServerGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		f.setWebhook(t)
		f.receiver.hold = make(chan struct{})
		stop := f.run(t)
		u := f.say(t, chatA, "x")
		synctest.Wait()
		stop()
		require.Equal(t, simulator.Pending, f.about(t, u).Outcome)
		require.Zero(t, f.Oracle().Counts().Failures, "an interruption of our own is no failure")

		later, err := f.AddBot("7000000002:test-token", "other_bot")
		require.NoError(t, err)
		close(f.receiver.hold)
		f.run(t)
		require.NoError(t, f.WaitDelivered(t.Context()))
		_, err = f.PostMessage(later, chatA, "x")
		require.NoError(t, err)
		ctx, cancel := contextFor(t, time.Second)
		defer cancel()
		require.ErrorContains(t, f.WaitDelivered(ctx), "wait for 1 pending", "a bot without a webhook is not delivered to")
	})
}

func TestBotsThatComeLaterAreDeliveredTo(t *testing.T) {
	t.Parallel()
	delivered(t, func(t *testing.T, f *fixture) {
		synctest.Wait()
		const laterToken = "7000000002:test-token"
		later, err := f.AddBot(laterToken, "other_bot")
		require.NoError(t, err)
		got := f.serve(t, getRequest(t, "/bot"+laterToken+"/setWebhook?url=https://other.test"))
		require.True(t, got.OK)
		_, err = f.PostMessage(later, chatA, "x")
		require.NoError(t, err)
		require.NoError(t, f.WaitDelivered(t.Context()))
		require.Empty(t, f.receiver.got()[0].header.Get("X-Telegram-Bot-Api-Secret-Token"), "no secret, no header")
	})
}
