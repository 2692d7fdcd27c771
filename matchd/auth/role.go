package auth

import (
	"slices"
	"strings"

	"github.com/matchd/matchd/matchd/fault"
)

// Role says what an identity may do. There are few, so that one can be chosen without a table.
type Role string

// The roles, from the one that may do everything on.
const (
	Admin     Role = "admin"              // everything
	Operator  Role = "operator"           // everything but identities
	Registrar Role = "instance-registrar" // reads groups and profiles; registers instances
	Viewer    Role = "viewer"             // reads, except the audit log
)

// Roles returns every role.
func Roles() []Role { return []Role{Admin, Operator, Registrar, Viewer} }

// ParseRole reads a role's name; the error is of kind Invalid and lists the names.
func ParseRole(name string) (Role, error) {
	if role := Role(name); slices.Contains(Roles(), role) {
		return role, nil
	}
	names := make([]string, 0, len(Roles()))
	for _, role := range Roles() {
		names = append(names, string(role))
	}
	return "", fault.New(fault.Invalid, "%q is no role: there are %s", name, strings.Join(names, ", "))
}

// Action is a sort of call. Each method of the API is one of these.
type Action string

// The actions.
const (
	Greet      Action = "greet"       // ask who one is, and how the server does
	ReadGroups Action = "read groups" // groups and the profiles that they name
	Read       Action = "read"        // everything that machines are or get, configs with their secrets included
	Write      Action = "write"       // machines, groups, profiles, templates, reservations
	ReadAudit  Action = "read the audit log"
)

// roleActions says what each role may do. What is not here, it may not.
var roleActions = map[Role][]Action{
	Admin:     {Greet, ReadGroups, Read, Write, ReadAudit},
	Operator:  {Greet, ReadGroups, Read, Write, ReadAudit},
	Registrar: {Greet, ReadGroups},
	Viewer:    {Greet, ReadGroups, Read},
}

// May reports whether the role allows the action.
func (r Role) May(action Action) bool { return slices.Contains(roleActions[r], action) }
