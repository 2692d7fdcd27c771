package client

import (
	"context"
	"iter"

	"github.com/matchd/matchd/rpc/matchdpb"
)

// page is one answer of a listing.
type page[T any] struct {
	items []T
	next  string
}

// all asks for page after page. The first error ends it.
func all[T any](fetch func(token string) (page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for token := ""; ; {
			got, err := fetch(token)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range got.items {
				if !yield(item, nil) {
					return
				}
			}
			if token = got.next; token == "" {
				return
			}
		}
	}
}

// AllMachines lists machines by id, page after page: all, or those that have the labels. The first error ends it.
func (c *Client) AllMachines(ctx context.Context, labels map[string]string) iter.Seq2[*matchdpb.Machine, error] {
	return all(func(token string) (page[*matchdpb.Machine], error) {
		got, err := c.Machines.ListMachines(ctx, &matchdpb.ListMachinesRequest{PageToken: token, Labels: labels})
		return page[*matchdpb.Machine]{got.GetMachines(), got.GetNextPageToken()}, err
	})
}

// AllGroups lists groups by id: all, or those whose selectors have the labels.
func (c *Client) AllGroups(ctx context.Context, labels map[string]string) iter.Seq2[*matchdpb.Group, error] {
	return all(func(token string) (page[*matchdpb.Group], error) {
		got, err := c.Groups.ListGroups(ctx, &matchdpb.ListGroupsRequest{PageToken: token, Labels: labels})
		return page[*matchdpb.Group]{got.GetGroups(), got.GetNextPageToken()}, err
	})
}

// AllProfiles lists profiles by id.
func (c *Client) AllProfiles(ctx context.Context) iter.Seq2[*matchdpb.Profile, error] {
	return all(func(token string) (page[*matchdpb.Profile], error) {
		got, err := c.Profiles.ListProfiles(ctx, &matchdpb.ListProfilesRequest{PageToken: token})
		return page[*matchdpb.Profile]{got.GetProfiles(), got.GetNextPageToken()}, err
	})
}

// AllTemplates lists templates by id, with their contents.
func (c *Client) AllTemplates(ctx context.Context) iter.Seq2[*matchdpb.Template, error] {
	return all(func(token string) (page[*matchdpb.Template], error) {
		got, err := c.Templates.ListTemplates(ctx, &matchdpb.ListTemplatesRequest{PageToken: token})
		return page[*matchdpb.Template]{got.GetTemplates(), got.GetNextPageToken()}, err
	})
}

// AllReservations lists reservations by address.
func (c *Client) AllReservations(ctx context.Context) iter.Seq2[*matchdpb.Reservation, error] {
	return all(func(token string) (page[*matchdpb.Reservation], error) {
		got, err := c.Reservations.ListReservations(ctx, &matchdpb.ListReservationsRequest{PageToken: token})
		return page[*matchdpb.Reservation]{got.GetReservations(), got.GetNextPageToken()}, err
	})
}

// AllLeases lists leases by address: those that last, or all that are known.
func (c *Client) AllLeases(ctx context.Context, ended bool) iter.Seq2[*matchdpb.Lease, error] {
	return all(func(token string) (page[*matchdpb.Lease], error) {
		got, err := c.Leases.ListLeases(ctx, &matchdpb.ListLeasesRequest{PageToken: token, All: ended})
		return page[*matchdpb.Lease]{got.GetLeases(), got.GetNextPageToken()}, err
	})
}

// AllTimelines lists the machines that were seen, the last seen first.
func (c *Client) AllTimelines(ctx context.Context) iter.Seq2[*matchdpb.Timeline, error] {
	return all(func(token string) (page[*matchdpb.Timeline], error) {
		got, err := c.Timelines.ListTimelines(ctx, &matchdpb.ListTimelinesRequest{PageToken: token})
		return page[*matchdpb.Timeline]{got.GetTimelines(), got.GetNextPageToken()}, err
	})
}

// AllAssets lists the files of a directory below /assets/ by name.
func (c *Client) AllAssets(ctx context.Context, directory string) iter.Seq2[*matchdpb.Asset, error] {
	return all(func(token string) (page[*matchdpb.Asset], error) {
		got, err := c.Assets.ListAssets(ctx, &matchdpb.ListAssetsRequest{PageToken: token, Path: directory})
		return page[*matchdpb.Asset]{got.GetAssets(), got.GetNextPageToken()}, err
	})
}

// Collect reads a listing to its end.
func Collect[T any](listing iter.Seq2[T, error]) ([]T, error) {
	var items []T
	for item, err := range listing {
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}
