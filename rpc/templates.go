package rpc

import (
	"context"

	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// templateService implements matchd.v1.Templates.
type templateService struct {
	matchdpb.UnimplementedTemplatesServer
	objects *objectStore
}

// GetTemplate implements matchdpb.TemplatesServer.
func (s *templateService) GetTemplate(ctx context.Context, request *matchdpb.GetTemplateRequest) (*matchdpb.GetTemplateResponse, error) {
	item, err := s.objects.get(ctx, catalog.Template, request.GetId())
	if err != nil {
		return nil, err
	}
	return &matchdpb.GetTemplateResponse{Template: templateToProto(item)}, nil
}

// ListTemplates implements matchdpb.TemplatesServer.
func (s *templateService) ListTemplates(ctx context.Context, request *matchdpb.ListTemplatesRequest) (*matchdpb.ListTemplatesResponse, error) {
	keep := func(o *catalog.Object) bool {
		return request.GetKind() == "" || string(o.Template.Kind) == request.GetKind()
	}
	items, next, revision, err := s.objects.list(ctx, catalog.Template, page{request.GetPageSize(), request.GetPageToken(), keep})
	if err != nil {
		return nil, err
	}
	response := &matchdpb.ListTemplatesResponse{NextPageToken: next, Revision: revision, Templates: make([]*matchdpb.Template, 0, len(items))}
	for _, item := range items {
		template := templateToProto(item)
		if request.GetNamesOnly() {
			template.Content = nil
		}
		response.Templates = append(response.Templates, template)
	}
	return response, nil
}

// PutTemplate implements matchdpb.TemplatesServer.
func (s *templateService) PutTemplate(ctx context.Context, request *matchdpb.PutTemplateRequest) (*matchdpb.PutTemplateResponse, error) {
	object, problems := templateFrom(request.GetTemplate())
	item, warnings, err := s.objects.put(ctx, object, problems, request.Revision)
	if err != nil {
		return nil, err
	}
	return &matchdpb.PutTemplateResponse{Template: templateToProto(item), Warnings: warnings}, nil
}

// DeleteTemplate implements matchdpb.TemplatesServer.
func (s *templateService) DeleteTemplate(ctx context.Context, request *matchdpb.DeleteTemplateRequest) (*matchdpb.DeleteTemplateResponse, error) {
	revision, err := s.objects.remove(ctx, catalog.Template, request.GetId(), request.Revision)
	if err != nil {
		return nil, err
	}
	return &matchdpb.DeleteTemplateResponse{Revision: revision}, nil
}
