package rpc

import (
	"time"

	"github.com/matchd/matchd/matchd/auth"
)

// Deadlines of calls whose client gives none.
const (
	callTimeout  = time.Minute
	applyTimeout = 5 * time.Minute // 100,000 changes, rendered
	// maxTimeout bounds the deadline that a client may give.
	maxTimeout = 10 * time.Minute
)

// rule is what is known of a method before it is called.
type rule struct {
	action auth.Action
	// scoped says that the service itself shows and changes only what the identity's scope holds. Without it, an identity with a scope is refused.
	scoped  bool
	cost    int           // tokens of the rate limit; 0: 1
	timeout time.Duration // 0: callTimeout; streams have none unless it is set
}

// Costs of methods that are more work than a lookup.
const (
	listCost     = 10
	applyCost    = 20
	renderCost   = 5
	simulateCost = 50
)

// policy holds the rule of every method. A method that is not in it is refused.
var policy = map[string]rule{
	"/grpc.health.v1.Health/Check":                                   {action: auth.Greet, scoped: true},
	"/grpc.health.v1.Health/List":                                    {action: auth.Greet, scoped: true},
	"/grpc.health.v1.Health/Watch":                                   {action: auth.Greet, scoped: true},
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      {action: auth.Greet, scoped: true},
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": {action: auth.Greet, scoped: true},
	"/matchd.v1.Status/GetStatus":                                    {action: auth.Greet, scoped: true},
	"/matchd.v1.Audit/ListAuditRecords":                              {action: auth.ReadAudit, scoped: true, cost: listCost},

	"/matchd.v1.Groups/GetGroup":                {action: auth.ReadGroups, scoped: true},
	"/matchd.v1.Groups/ListGroups":              {action: auth.ReadGroups, scoped: true, cost: listCost},
	"/matchd.v1.Groups/PutGroup":                {action: auth.Write, scoped: true},
	"/matchd.v1.Groups/DeleteGroup":             {action: auth.Write, scoped: true},
	"/matchd.v1.Profiles/GetProfile":            {action: auth.ReadGroups, scoped: true},
	"/matchd.v1.Profiles/ListProfiles":          {action: auth.ReadGroups, scoped: true, cost: listCost},
	"/matchd.v1.Profiles/PutProfile":            {action: auth.Write},
	"/matchd.v1.Profiles/DeleteProfile":         {action: auth.Write},
	"/matchd.v1.Templates/GetTemplate":          {action: auth.Read, scoped: true},
	"/matchd.v1.Templates/ListTemplates":        {action: auth.Read, scoped: true, cost: listCost},
	"/matchd.v1.Templates/PutTemplate":          {action: auth.Write},
	"/matchd.v1.Templates/DeleteTemplate":       {action: auth.Write},
	"/matchd.v1.Machines/GetMachine":            {action: auth.Read, scoped: true},
	"/matchd.v1.Machines/ListMachines":          {action: auth.Read, scoped: true, cost: listCost},
	"/matchd.v1.Machines/PutMachine":            {action: auth.Write, scoped: true},
	"/matchd.v1.Machines/DeleteMachine":         {action: auth.Write, scoped: true},
	"/matchd.v1.Reservations/GetReservation":    {action: auth.Read},
	"/matchd.v1.Reservations/ListReservations":  {action: auth.Read, cost: listCost},
	"/matchd.v1.Reservations/PutReservation":    {action: auth.Write},
	"/matchd.v1.Reservations/DeleteReservation": {action: auth.Write},
	"/matchd.v1.Changes/Apply":                  {action: auth.Write, scoped: true, cost: applyCost, timeout: applyTimeout},
	"/matchd.v1.Changes/Watch":                  {action: auth.Read, scoped: true, cost: listCost},

	"/matchd.v1.Boot/Explain":            {action: auth.Read, scoped: true, cost: renderCost},
	"/matchd.v1.Boot/Plan":               {action: auth.Read, scoped: true},
	"/matchd.v1.Boot/Render":             {action: auth.Read, scoped: true, cost: renderCost},
	"/matchd.v1.Boot/Simulate":           {action: auth.Read, scoped: true, cost: simulateCost, timeout: callTimeout},
	"/matchd.v1.Assets/GetAsset":         {action: auth.Read, scoped: true, cost: renderCost},
	"/matchd.v1.Assets/ListAssets":       {action: auth.Read, scoped: true, cost: listCost},
	"/matchd.v1.Leases/ListLeases":       {action: auth.Read, scoped: true, cost: listCost},
	"/matchd.v1.Timelines/ListTimelines": {action: auth.Read, scoped: true, cost: listCost},
	"/matchd.v1.Timelines/GetTimeline":   {action: auth.Read, scoped: true},
	"/matchd.v1.Timelines/WatchEvents":   {action: auth.Read, scoped: true, cost: listCost},

	// matchbox's services know no scopes.
	"/rpcpb.Groups/GroupPut":         {action: auth.Write},
	"/rpcpb.Groups/GroupGet":         {action: auth.ReadGroups},
	"/rpcpb.Groups/GroupDelete":      {action: auth.Write},
	"/rpcpb.Groups/GroupList":        {action: auth.ReadGroups, cost: listCost},
	"/rpcpb.Profiles/ProfilePut":     {action: auth.Write},
	"/rpcpb.Profiles/ProfileGet":     {action: auth.ReadGroups},
	"/rpcpb.Profiles/ProfileDelete":  {action: auth.Write},
	"/rpcpb.Profiles/ProfileList":    {action: auth.ReadGroups, cost: listCost},
	"/rpcpb.Ignition/IgnitionPut":    {action: auth.Write},
	"/rpcpb.Ignition/IgnitionGet":    {action: auth.Read},
	"/rpcpb.Ignition/IgnitionDelete": {action: auth.Write},
	"/rpcpb.Generic/GenericPut":      {action: auth.Write},
	"/rpcpb.Generic/GenericGet":      {action: auth.Read},
	"/rpcpb.Generic/GenericDelete":   {action: auth.Write},
	"/rpcpb.Select/SelectGroup":      {action: auth.ReadGroups},
	"/rpcpb.Select/SelectProfile":    {action: auth.ReadGroups},
}
