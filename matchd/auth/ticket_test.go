package auth_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/fault"
)

var noon = time.Date(2026, 11, 23, 12, 10, 0, 0, time.UTC)

// newTickets returns tickets of a secret that repeats the byte, at a time that the test can move.
func newTickets(t testing.TB, fill byte) (*auth.Tickets, *time.Time) {
	t.Helper()
	secret, err := auth.NewSecret(bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		t.Fatal(err)
	}
	clock := noon
	tickets, err := auth.NewTickets(secret, func() time.Time { return clock })
	if err != nil {
		t.Fatal(err)
	}
	return tickets, &clock
}

func example() auth.Ticket {
	return auth.Ticket{
		MAC: "52:54:00:12:34:56", UUID: "5ebf2b1c-0000-4000-8000-525400123456",
		Labels: groups.Labels{"mac": "52:54:00:12:34:56", "os": "installed", "": "", "serial": "ä\n\x00."},
	}
}

func issue(t testing.TB, tickets *auth.Tickets, ticket auth.Ticket) string {
	t.Helper()
	text, err := tickets.Issue(ticket)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTicketSaysWhatItWasIssuedFor(t *testing.T) {
	tickets, _ := newTickets(t, 1)
	for _, want := range []auth.Ticket{example(), {Labels: groups.Labels{}}, {MAC: "52:54:00:12:34:56", Labels: groups.Labels{}}} {
		text := issue(t, tickets, want)
		if strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			t.Errorf("%q is not fit for a header or a path", text)
		}
		got, err := tickets.Redeem(text)
		if err != nil {
			t.Fatal(err)
		}
		want.Expires = time.Date(2026, 11, 24, 13, 0, 0, 0, time.UTC)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestTicketIsTheSameForAnHour(t *testing.T) {
	tickets, clock := newTickets(t, 1)
	first := issue(t, tickets, example())
	*clock = noon.Add(49 * time.Minute)
	if again := issue(t, tickets, example()); again != first {
		t.Error("it changed within the hour")
	}
	*clock = noon.Add(51 * time.Minute)
	if later := issue(t, tickets, example()); later == first {
		t.Error("it never changes")
	}
}

func TestTicketExpires(t *testing.T) {
	tickets, clock := newTickets(t, 1)
	text := issue(t, tickets, example())
	*clock = noon.Add(auth.TicketLifetime)
	if _, err := tickets.Redeem(text); err != nil {
		t.Errorf("after its whole lifetime: %v", err)
	}
	*clock = noon.Add(auth.TicketLifetime + time.Hour)
	got, err := tickets.Redeem(text)
	if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "expired at 2026-11-24T13:00:00Z") {
		t.Errorf("got %v, want Denied", err)
	}
	if got.MAC != example().MAC {
		t.Errorf("an expired ticket does not tell whose it was: %q", got.MAC)
	}
}

func TestTicketOfAnotherServerIsRefused(t *testing.T) {
	mine, _ := newTickets(t, 1)
	other, _ := newTickets(t, 2)
	if got, err := mine.Redeem(issue(t, other, example())); !fault.Is(err, fault.Denied) || got.MAC != "" {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestEveryChangedByteIsRefused flips bits, and puts in what lenient decoders pass over.
func TestEveryChangedByteIsRefused(t *testing.T) {
	tickets, _ := newTickets(t, 1)
	text := issue(t, tickets, example())
	refused := func(changed string) {
		t.Helper()
		if got, err := tickets.Redeem(changed); !fault.Is(err, fault.Denied) || got.Labels != nil {
			t.Errorf("%q: got %v, %v", changed, got, err)
		}
	}
	for i := range text {
		for bit := range 8 {
			changed := []byte(text)
			changed[i] ^= 1 << bit
			refused(string(changed))
		}
		refused(text[:i])
		refused(text[:i] + "\n" + text[i:])
		refused(text[:i] + text[i+1:])
	}
	for _, changed := range []string{"", ".", "..", text + "=", text + ".", text + "\n", " " + text, text + text, "m2" + text[2:], strings.Repeat("a", auth.MaxTicket+1)} {
		refused(changed)
	}
}

func TestIssueIsBounded(t *testing.T) {
	tickets, _ := newTickets(t, 1)
	many := groups.Labels{}
	for i := range 65 {
		many[fmt.Sprint(i)] = "x"
	}
	for name, labels := range map[string]groups.Labels{"many": many, "long": {"serial": strings.Repeat("x", auth.MaxTicket)}} {
		if _, err := tickets.Issue(auth.Ticket{Labels: labels}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want Invalid", name, err)
		}
	}
}

func TestOpenSecretKeepsIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets.key")
	redeem := func(text string) string {
		t.Helper()
		secret, err := auth.OpenSecret(file)
		if err != nil {
			t.Fatal(err)
		}
		tickets, err := auth.NewTickets(secret, nil)
		if err != nil {
			t.Fatal(err)
		}
		if text == "" {
			return issue(t, tickets, example())
		}
		if _, err := tickets.Redeem(text); err != nil {
			t.Errorf("after opening again: %v", err)
		}
		return ""
	}
	redeem(redeem(""))
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 || info.Size() != 32 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.WriteFile(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.OpenSecret(file); !fault.Is(err, fault.Invalid) {
		t.Errorf("a short secret: %v", err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.OpenSecret(file); !fault.Is(err, fault.Invalid) {
		t.Errorf("a secret that all can read: %v", err)
	}
}

func FuzzRedeem(f *testing.F) {
	tickets, _ := newTickets(f, 1)
	good := issue(f, tickets, example())
	f.Add(good)
	f.Add("m1..")
	f.Add(strings.ToUpper(good))
	f.Fuzz(func(t *testing.T, text string) {
		ticket, err := tickets.Redeem(text)
		switch {
		case err != nil && !fault.Is(err, fault.Denied):
			t.Errorf("error of kind %v", fault.KindOf(err))
		case err == nil && text != good && issue(t, tickets, ticket) != text:
			t.Errorf("%q was accepted and never issued", text)
		}
	})
}

// FuzzDecode signs whatever it gets, so that the decoder behind the signature is reached.
func FuzzDecode(f *testing.F) {
	tickets, _ := newTickets(f, 1)
	good := issue(f, tickets, example())
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(good, ".")[1])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	f.Add([]byte{0, 0, 0, 2, 1, 'b', 0, 1, 'a', 0})
	f.Add([]byte{0x80, 0, 0, 0, 0})
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, raw []byte) {
		ticket, err := auth.DecodeTicket(raw)
		if err == nil && !bytes.Equal(ticket.Encode(), raw) {
			t.Errorf("%x has another encoding: %x", raw, ticket.Encode())
		}
	})
}

func BenchmarkRedeem(b *testing.B) {
	tickets, _ := newTickets(b, 1)
	text := issue(b, tickets, example())
	for b.Loop() {
		if _, err := tickets.Redeem(text); err != nil {
			b.Fatal(err)
		}
	}
}
