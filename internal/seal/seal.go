// Package seal keeps secrets out of sight: Secret is a text that no print, log line or JSON shows, and a Ring seals secrets at
// rest. It does no I/O.
package seal
