// Package simulator is a fake Telegram: a Bot API server that keeps the real one's rules, with traffic to send and an oracle
// that knows what was sent. Tests use it as their only Telegram, at its wire; `tgfleet up --simulate` uses it as a source of
// traffic. It plays a local Bot API server (the open-source tdlib/telegram-bot-api with --local), which is why setWebhook
// takes http URLs and any port where the cloud wants https and 443, 80, 88 or 8443.
//
// Time is a parameter: everything runs on Config.Clock, and on the standard clock when that is nil. Inside a testing/synctest
// bubble the standard clock is the bubble's, so that 24 hours of retries take no time; a Config.Transport that calls a
// handler directly keeps real sockets out of the bubble. With real sockets, a Clock that runs faster does the same. All
// chance comes from Config.Seed: one seed and one list of bots give the same traffic, byte for byte, on one clock.
//
// The rules that hold here, each with a test of its own:
//
//   - Methods: getMe, setWebhook, deleteWebhook, getWebhookInfo, getUpdates, sendMessage; by GET or POST, with parameters in
//     the query, a form, a multipart form or JSON; names in any case. 401 for an unknown token, 404 for an unknown method, numbers
//     outside their range are clamped, not refused.
//   - setWebhook: secret_token of 1-256 characters of A-Za-z0-9_-; max_connections 1-100, 40 when left out; once a second,
//     else 429 with retry_after; one webhook a bot. allowed_updates is sticky, an empty list is the default (all but
//     chat_member, message_reaction and message_reaction_count), and a change is not retroactive.
//   - getUpdates: an offset confirms everything below it, a negative one counts from the end and confirms what is before;
//     limit 1-100; long polling up to 50 s. 409 while a webhook is set; a poller that waits is ended with 409 when another one
//     starts to wait or a webhook is set.
//   - Webhooks: 2xx is success and nothing else is; redirects are not followed; 60 s for an answer. Each queue is first-in
//     first-out with one update in flight: messages, edits and posts by chat, callbacks and inline queries by user, and
//     reactions, reaction counts, membership, boosts and business each apart, so that they overtake messages. At most
//     2 x max_connections updates are looked at, so that many failing queues hold up the others, too.
//   - After a failure: at once, then after 2, 4, 8, 16, 32 s, then after a random time that settles at 60-120 s. Retry-After
//     is honoured, 0-3600 s. More than 10 s without a success: one connection. 410 for 23 h: the webhook is removed.
//   - Lifetimes: 30 s for inline_query, 150 s for callback_query, shipping_query and pre_checkout_query, 600 s for
//     chosen_inline_result, 24 h for the rest. An update whose next try would fall past its end is dropped and counted.
//   - update_id starts anywhere, grows by one, and is drawn anew after a week of silence. Every try sends the same bytes.
//   - Message ids count for each chat in channels and supergroups, and for each bot in private chats and basic groups.
//   - Sending: 1 message a second in a chat, 20 a minute in a group, 30 a second over all, else 429 with retry_after.
//
// What it will not do: TLS and certificates, calling methods named in a webhook's answer, files and getFile, connections as
// such (it counts requests in flight), and the 3 s by which the real server slows down repeated conflicts and short polls.
package simulator
