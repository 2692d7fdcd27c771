package rpc

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/matchd/matchd/assets"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// maxDigests is how many files are read for their digests at the same time: each is read whole, from the disk that machines boot from.
const maxDigests = 2

// Assets reads the assets directory. An [assets.Tree] does. What is not there is fs.ErrNotExist.
type Assets interface {
	Open(name string) (*os.File, assets.Info, error)
	List(name string) ([]assets.Info, error)
	Digest(ctx context.Context, name string) (assets.Digest, error)
}

type assetService struct {
	matchdpb.UnimplementedAssetsServer
	tree    Assets
	digests chan struct{} // as many as are under way
}

func newAssetService(tree Assets) *assetService {
	return &assetService{tree: tree, digests: make(chan struct{}, maxDigests)}
}

// GetAsset implements matchdpb.AssetsServer.
func (s *assetService) GetAsset(ctx context.Context, request *matchdpb.GetAssetRequest) (*matchdpb.GetAssetResponse, error) {
	name := strings.Trim(request.GetPath(), "/")
	if name == "" {
		return nil, fault.New(fault.Invalid, "path: it names no file")
	}
	file, info, err := s.tree.Open(name)
	if err != nil {
		return nil, assetError(name, err)
	}
	if file != nil {
		if err := file.Close(); err != nil {
			return nil, err
		}
	}
	asset := assetMessage(path.Dir(name), &info)
	if info.Dir {
		return &matchdpb.GetAssetResponse{Asset: asset}, nil
	}
	select {
	case s.digests <- struct{}{}:
		defer func() { <-s.digests }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	digest, err := s.tree.Digest(ctx, name)
	if err != nil {
		return nil, assetError(name, err)
	}
	asset.Sha256 = strings.TrimPrefix(digest.String(), "sha256:")
	return &matchdpb.GetAssetResponse{Asset: asset}, nil
}

// ListAssets implements matchdpb.AssetsServer. The page token is the last name of the page before.
func (s *assetService) ListAssets(_ context.Context, request *matchdpb.ListAssetsRequest) (*matchdpb.ListAssetsResponse, error) {
	size, err := pageOf(request.GetPageSize(), usualPage, mostPage)
	if err != nil {
		return nil, err
	}
	directory := path.Clean("/" + request.GetPath())[1:]
	name := directory
	if name == "" {
		name = "."
	}
	list, err := s.tree.List(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && directory == "": // there is no assets directory yet
		return &matchdpb.ListAssetsResponse{}, nil
	case err != nil:
		return nil, assetError(directory, err)
	}
	page, more := after(list, func(info assets.Info) int { return strings.Compare(info.Name, request.GetPageToken()) }, size)
	response := &matchdpb.ListAssetsResponse{}
	for i := range page {
		response.Assets = append(response.Assets, assetMessage(directory, &page[i]))
	}
	if more {
		response.NextPageToken = page[size-1].Name
	}
	return response, nil
}

// assetError gives what is not there its kind, and keeps what the environment says to itself.
func assetError(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.NotFound, "there is no asset %.200q", name)
	}
	return err
}

func assetMessage(directory string, info *assets.Info) *matchdpb.Asset {
	return &matchdpb.Asset{
		Path: valid([]byte(path.Join(directory, info.Name))), Size: info.Size, ModifiedAt: timestamppb.New(info.ModTime), Directory: info.Dir,
	}
}
