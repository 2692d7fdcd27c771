// Package audit keeps who changed what through the API, and who tried to.
//
// The record of a write goes into the same commit of the store as the write itself: there is none without the other. Refused calls are written apart, by
// [Log.Run], so that they neither slow down nor fill the store of what machines boot. A record names objects,
// never what is in them.
//
// Both are bounded: the oldest records give way, and whoever may write can make [MaxWritten] new ones in seconds. What has to last is in the daemon's log, which
// has a line for each write, on a host that it is shipped to.
package audit

import (
	"context"
	"time"

	"github.com/matchd/matchd/matchd/store"
)

// Bounds of the log.
const (
	MaxWritten = 10_000 // records of writes that are kept; at about 500 bytes, 5 MB in config.db
	MaxRefused = 10_000 // records of refused calls that are kept, in the other store
	MaxObjects = 20     // objects that a record names
	maxText    = 512    // bytes of each text of a record
	maxQueue   = 256    // refused calls that wait to be written; more are counted and left out
)

// Prefix is what the keys of all records begin with, in either store.
const Prefix = "audit/"

// Object names what a call was about.
type Object struct {
	Kind string `json:"kind"` // machine, group, profile, template, reservation
	ID   string `json:"id"`
}

// Record is one call that wrote, or tried to.
type Record struct {
	Seq      uint64         `json:"seq"` // grows; there may be gaps
	Time     time.Time      `json:"time"`
	Identity string         `json:"identity"`
	Role     string         `json:"role,omitempty"`
	Peer     string         `json:"peer,omitempty"`    // address and port
	Method   string         `json:"method,omitempty"`  // "/matchd.v1.Groups/PutGroup"
	Objects  []Object       `json:"objects,omitempty"` // the first ones
	More     int            `json:"more,omitempty"`    // how many more there were
	Before   store.Revision `json:"before,omitempty"`  // revision of the object before; 0 for none or several
	After    store.Revision `json:"-"`                 // revision of the write: the commit that holds the record; 0 if nothing changed
	Code     string         `json:"code"`              // "OK", "PERMISSION_DENIED", …
	Error    string         `json:"error,omitempty"`   // why it was refused; no values of documents
}

// Call is what every record of one call has in common.
type Call struct {
	Identity, Role, Peer, Method string
}

type contextKey struct{}

// NewContext returns a context that carries the call.
func NewContext(ctx context.Context, call Call) context.Context {
	return context.WithValue(ctx, contextKey{}, call)
}

// FromContext returns the call that a context belongs to; outside of the API it is empty.
func FromContext(ctx context.Context) Call {
	call, _ := ctx.Value(contextKey{}).(Call)
	return call
}

// Record returns a record of the call about objects.
func (c Call) Record(objects []Object) Record {
	r := Record{Identity: c.Identity, Role: c.Role, Peer: c.Peer, Method: c.Method, Objects: objects}
	if len(objects) > MaxObjects {
		r.Objects, r.More = objects[:MaxObjects:MaxObjects], len(objects)-MaxObjects
	}
	return r
}
