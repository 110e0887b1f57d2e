package account

import (
	"regexp"
	"strconv"
	"strings"
)

// tokens are written as https://core.telegram.org/bots/api#authorizing-your-bot shows.
var tokens = regexp.MustCompile(`^[0-9]{1,18}:[A-Za-z0-9_-]+$`)

// BotIDOfToken returns the id of the bot that token belongs to, and false when token does not look like one. Whether Telegram
// knows the token is another matter.
func BotIDOfToken(token string) (BotID, bool) {
	if !tokens.MatchString(token) {
		return 0, false
	}
	digits, _, _ := strings.Cut(token, ":")
	id, err := strconv.ParseInt(digits, 10, 64)
	return BotID(id), err == nil && id != 0
}
