package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
)

// Times and bounds of tickets.
const (
	// TicketLifetime is how long a ticket is good for at least. A machine uses it more than once and not at once: a reboot for kernel arguments
	// fetches the config again, an installer puts the pointer on a disk that boots when somebody has pulled the cable, and a document that
	// does not render makes machines wait over a night. Not longer, because whoever reads a disk or an initrd has the ticket too.
	TicketLifetime = 24 * time.Hour
	// ticketStep rounds the end of a ticket up, so that all that are made for one machine within it are equal to the byte: an initrd
	// that is fetched again, or in parts, has the same ETag.
	ticketStep = time.Hour
	// MaxTicket is the size of the longest ticket in bytes of text. It goes into a header, and those have 8 KiB with many a proxy.
	MaxTicket = 4096
	// maxTicketLabels is the number of labels in a ticket.
	maxTicketLabels = 64
)

// ticketVersion is the first part of every ticket; what follows is read in its way alone.
const ticketVersion = "m1"

// ticketPurpose names the key of tickets.
const ticketPurpose = "matchd boot ticket m1"

// Ticket is what a machine is let have its config by.
type Ticket struct {
	MAC     machine.MAC   // empty: the machine did not tell
	UUID    string        // the same
	Labels  groups.Labels // what the request told that got the ticket: they lead to the same group again
	Expires time.Time     // to the second; set by [Tickets.Issue]
}

// Tickets makes and checks tickets. It is safe for concurrent use.
type Tickets struct {
	key []byte
	now func() time.Time
}

// NewTickets returns tickets that the secret signs. now tells the time; nil means [time.Now].
func NewTickets(secret *Secret, now func() time.Time) (*Tickets, error) {
	key, err := secret.key(ticketPurpose)
	if err != nil {
		return nil, err
	}
	if now == nil {
		now = time.Now
	}
	return &Tickets{key: key, now: now}, nil
}

// Issue returns the text of a ticket. It is good for [TicketLifetime] and up to an hour more: the same ticket has the same text until the
// hour is over. The error is of kind Invalid for labels that a ticket has no room for.
func (t *Tickets) Issue(ticket Ticket) (string, error) {
	ticket.Expires = t.now().Add(TicketLifetime + ticketStep - 1).Truncate(ticketStep)
	if len(ticket.Labels) > maxTicketLabels {
		return "", fault.New(fault.Invalid, "the request tells %d labels, a ticket holds %d", len(ticket.Labels), maxTicketLabels)
	}
	signed := ticketVersion + "." + base64.RawURLEncoding.EncodeToString(ticket.encode())
	text := signed + "." + t.sign(signed)
	if len(text) > MaxTicket {
		return "", fault.New(fault.Invalid, "a ticket with the labels of the request has %d bytes, at most %d are allowed", len(text), MaxTicket)
	}
	return text, nil
}

// Redeem returns what a ticket says. Its errors are of kind Denied: a text that this server did not sign, or a ticket that has
// expired, which is returned with the error, so that its machine can be named.
func (t *Tickets) Redeem(text string) (Ticket, error) {
	if len(text) > MaxTicket {
		return Ticket{}, fault.New(fault.Denied, "the ticket has %d bytes, no ticket has more than %d", len(text), MaxTicket)
	}
	dot := strings.LastIndexByte(text, '.')
	if dot < 0 {
		return Ticket{}, fault.New(fault.Denied, "this is not a ticket")
	}
	signed, signature := text[:dot], text[dot+1:]
	// The texts are compared, not what they decode to: base64 has several for the same bytes.
	if subtle.ConstantTimeCompare([]byte(signature), []byte(t.sign(signed))) != 1 {
		return Ticket{}, fault.New(fault.Denied, "the ticket is not one that this server gave out, or its secrets.key has been replaced since")
	}
	payload, ok := strings.CutPrefix(signed, ticketVersion+".")
	if !ok {
		return Ticket{}, fault.New(fault.Denied, "the ticket is of a version that this server does not know")
	}
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return Ticket{}, fault.New(fault.Denied, "reading a ticket: %w", err)
	}
	ticket, err := decodeTicket(raw)
	if err != nil {
		return Ticket{}, fault.New(fault.Denied, "reading a ticket: %w", err)
	}
	if !t.now().Before(ticket.Expires) {
		return ticket, fault.New(fault.Denied, "the ticket expired at %s: boot the machine again to give it a new one", ticket.Expires.UTC().Format(time.RFC3339))
	}
	return ticket, nil
}

func (t *Tickets) sign(text string) string {
	mac := hmac.New(sha256.New, t.key)
	mac.Write([]byte(text)) // a hash's Write returns no error
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// encode writes the ticket: seconds since 1970, MAC, UUID, number of labels, labels in order of their names. Numbers are unsigned varints,
// texts have their length in front.
func (t *Ticket) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(max(0, t.Expires.Unix())))
	b = appendText(b, string(t.MAC))
	b = appendText(b, t.UUID)
	b = binary.AppendUvarint(b, uint64(len(t.Labels)))
	for _, name := range slices.Sorted(maps.Keys(t.Labels)) {
		b = appendText(appendText(b, name), t.Labels[name])
	}
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// decodeTicket reads what encode writes, and nothing else: each ticket has one encoding.
func decodeTicket(raw []byte) (Ticket, error) {
	r := reader{left: raw}
	expires := r.number()
	ticket := Ticket{Expires: time.Unix(int64(min(expires, maxUnix)), 0), MAC: machine.MAC(r.text()), UUID: r.text()}
	labels := r.number()
	if labels > maxTicketLabels || expires > maxUnix {
		return Ticket{}, errors.New("a number is out of range")
	}
	ticket.Labels = make(groups.Labels, labels)
	last := ""
	for i := range labels {
		name, value := r.text(), r.text()
		if i > 0 && name <= last {
			return Ticket{}, errors.New("the labels are out of order")
		}
		ticket.Labels[name], last = value, name
	}
	if r.broken || len(r.left) > 0 {
		return Ticket{}, errors.New("its length is wrong")
	}
	return ticket, nil
}

// maxUnix is the latest end of a ticket that is read, in seconds since 1970: the year 9999, the last that RFC 3339 can write.
const maxUnix = 253402300799

// reader takes a payload apart. After a failure it gives zero values.
type reader struct {
	left   []byte
	broken bool
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.left)
	// A varint may be written longer than need be, with zeros in front; encode never does.
	if size <= 0 || size > 1 && r.left[size-1] == 0 {
		r.left, r.broken = nil, true
		return 0
	}
	r.left = r.left[size:]
	return n
}

func (r *reader) text() string {
	n := r.number()
	if n > uint64(len(r.left)) {
		r.left, r.broken = nil, true
		return ""
	}
	text := string(r.left[:n])
	r.left = r.left[n:]
	return text
}
