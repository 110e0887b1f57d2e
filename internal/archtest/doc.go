// Package archtest is the house's building code, as a test: which package may import which, which library belongs to which
// package, what no file may contain, and that the map in docs/architecture.md names every package. The rules are the tables of
// rules_test.go; each of them is also run against a small made-up house that breaks it, so that none can fall silent. The
// package reads source files only: it needs no build, no network and no server, and it holds no code for others.
package archtest
