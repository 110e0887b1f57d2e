package mtproto

// ShareOf is shareOf.
var ShareOf = shareOf
