package rpc

import (
	"context"

	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// machineService implements matchd.v1.Machines.
type machineService struct {
	matchdpb.UnimplementedMachinesServer
	objects *objectStore
}

// GetMachine implements matchdpb.MachinesServer.
func (s *machineService) GetMachine(ctx context.Context, request *matchdpb.GetMachineRequest) (*matchdpb.GetMachineResponse, error) {
	item, err := s.objects.get(ctx, catalog.Machine, request.GetId())
	if err != nil {
		return nil, err
	}
	return &matchdpb.GetMachineResponse{Machine: machineToProto(item)}, nil
}

// ListMachines implements matchdpb.MachinesServer.
func (s *machineService) ListMachines(ctx context.Context, request *matchdpb.ListMachinesRequest) (*matchdpb.ListMachinesResponse, error) {
	keep := func(o *catalog.Object) bool { return hasAll(o.Machine.Labels, request.GetLabels()) }
	items, next, revision, err := s.objects.list(ctx, catalog.Machine, page{request.GetPageSize(), request.GetPageToken(), keep})
	if err != nil {
		return nil, err
	}
	response := &matchdpb.ListMachinesResponse{NextPageToken: next, Revision: revision, Machines: make([]*matchdpb.Machine, 0, len(items))}
	for _, item := range items {
		response.Machines = append(response.Machines, machineToProto(item))
	}
	return response, nil
}

// PutMachine implements matchdpb.MachinesServer.
func (s *machineService) PutMachine(ctx context.Context, request *matchdpb.PutMachineRequest) (*matchdpb.PutMachineResponse, error) {
	object, problems := machineFrom(request.GetMachine())
	item, warnings, err := s.objects.put(ctx, object, problems, request.Revision)
	if err != nil {
		return nil, err
	}
	return &matchdpb.PutMachineResponse{Machine: machineToProto(item), Warnings: warnings}, nil
}

// DeleteMachine implements matchdpb.MachinesServer.
func (s *machineService) DeleteMachine(ctx context.Context, request *matchdpb.DeleteMachineRequest) (*matchdpb.DeleteMachineResponse, error) {
	revision, err := s.objects.remove(ctx, catalog.Machine, request.GetId(), request.Revision)
	if err != nil {
		return nil, err
	}
	return &matchdpb.DeleteMachineResponse{Revision: revision}, nil
}

// hasAll reports whether labels hold every pair that is wanted.
func hasAll(labels, wanted map[string]string) bool {
	for key, value := range wanted {
		if has, found := labels[key]; !found || has != value {
			return false
		}
	}
	return true
}
