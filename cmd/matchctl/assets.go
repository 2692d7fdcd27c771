package main

import (
	"context"
	"iter"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func assetNoun() *noun {
	return &noun{
		name: "asset", plural: "assets", short: "a", document: "Asset",
		head: []string{"PATH", "SIZE", "MODIFIED"}, wide: []string{"SHA256"},
		row: row(func(f *matchdpb.Asset, now time.Time) []string {
			path, bytes := f.GetPath(), size(f.GetSize())
			if f.GetDirectory() {
				path, bytes = strings.TrimSuffix(path, "/")+"/", ""
			}
			return []string{path, bytes, ago(now, f.GetModifiedAt()), f.GetSha256()}
		}),
		id: id((*matchdpb.Asset).GetPath),
		list: func(ctx context.Context, c *client.Client, _ query) iter.Seq2[proto.Message, error] {
			return messages(c.AllAssets(ctx, ""))
		},
		get: func(ctx context.Context, c *client.Client, path string) (proto.Message, error) {
			got, err := c.Assets.GetAsset(ctx, &matchdpb.GetAssetRequest{Path: path})
			return got.GetAsset(), err
		},
	}
}
