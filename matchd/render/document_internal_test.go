package render

import (
	"context"
	"testing"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/profiles"
)

// TestLateStaticDocumentIsTriedAgain has a document that is the same for every machine take too long once: those who wait for it are told so, and the
// next one gets it. What is wrong with a document stays wrong.
func TestLateStaticDocumentIsTriedAgain(t *testing.T) {
	compiled := func(content string) *Document {
		d, err := Compile(profiles.Template{Kind: profiles.Cloud, Name: "a", Content: []byte(content)})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := compiled("#cloud-config\n")
	d.fixed.Load().once.Do(func() { d.fixed.Load().err = fault.Wrap(fault.Unavailable, context.DeadlineExceeded) })
	if _, err := d.Text(t.Context(), nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want what the first attempt gave", err)
	}
	first, err := d.result(t.Context(), nil)
	if err != nil {
		t.Fatalf("the next attempt: %v", err)
	}
	if again, err := d.result(t.Context(), nil); again != first || err != nil {
		t.Errorf("it is rendered again (%v)", err)
	}

	d = compiled("no cloud-config\n")
	before := d.fixed.Load()
	if err := d.Check(t.Context()); !fault.Is(err, fault.Invalid) || d.fixed.Load() != before {
		t.Errorf("a wrong document: %v, or it is tried again", err)
	}
}
