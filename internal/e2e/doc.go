// Package e2e tries the whole of tgfleet from the outside: its commands as they are built, on real Redis and PostgreSQL servers,
// with the project's simulator as the only thing that is not what it will be in production. What must be in the database at the
// end is worked out from what the simulator sent, by code of the tests' own. The package holds tests alone.
package e2e
