package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// noteMark starts the lines that "edit" writes above a text and takes away again. No document starts like that.
const noteMark = "#~"

func (a *app) editCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "edit NOUN ID | edit NOUN/ID",
		Short: "change one object in an editor",
		Long: `Opens one object in $VISUAL or $EDITOR, and applies what was saved: a template as it is, anything else as YAML. It is written only
if the object is still the one that was opened. What the server refuses is opened again with the reasons above; closing the editor
without a change gives up. Text that was not accepted is kept in a file, which is named.`,
		Example: "  matchctl edit group worker\n  EDITOR='code --wait' matchctl edit template/ignition/worker.yaml",
		Args:    arguments(cobra.RangeArgs(1, 2)), ValidArgsFunction: a.completeTargets,
		RunE: a.connected(func(ctx context.Context, c *client.Client, args []string) error {
			targets, err := parseTargets(args)
			if err != nil {
				return err
			}
			t := targets[0]
			switch {
			case len(targets) > 1 || len(t.ids) != 1:
				return usagef("edit takes one object: NOUN ID or NOUN/ID")
			case t.noun.kind == 0:
				return usagef("%s cannot be edited: they tell what happened", t.noun.plural)
			}
			e := &editing{app: a, client: c, noun: t.noun, id: t.ids[0]}
			return e.run(ctx)
		}),
	}
}

// editing is one object in an editor.
type editing struct {
	*app
	client *client.Client
	noun   *noun
	id     string

	served *matchdpb.Object // as it was opened
	file   string           // that the editor has
	notes  string           // why the text was not accepted
}

func (e *editing) run(ctx context.Context) error {
	if err := e.fetch(ctx); err != nil {
		return e.notFound(ctx, e.client, e.noun, e.id, err)
	}
	if owner := metaOf(e.served).GetOwner(); owner != "" {
		return fmt.Errorf("%s/%s is owned by the file %s: change it there, the server follows the file", e.noun.name, e.id, owner)
	}
	dir, err := os.MkdirTemp("", "matchctl-edit-")
	if err != nil {
		return err
	}
	e.file = filepath.Join(dir, e.fileName())
	accepted := false
	defer func() {
		if accepted {
			os.RemoveAll(dir) // what was in it is served
		}
	}()
	saved := plainText(e.served)
	for {
		text, err := e.edit(ctx, saved)
		if err != nil {
			return err
		}
		if text == saved {
			accepted = e.notes == ""
			return e.unchanged(accepted)
		}
		saved = text
		if err = e.put(ctx, text); err == nil {
			accepted = true
			e.out.line("%s/%s changed", e.noun.name, e.id)
			return nil
		}
		if client.IsUnreachable(err) || client.IsDenied(err) {
			return fmt.Errorf("%w\nWhat you wrote is kept in %s", err, e.file)
		}
		e.err.painted(red, "%s", printableLines(err.Error()))
		e.notes = err.Error()
	}
}

func (e *editing) fetch(ctx context.Context) error {
	m, err := e.noun.get(ctx, e.client, e.id)
	if err == nil {
		e.served = wrap(m)
	}
	return err
}

// fileName lets an editor know the language.
func (e *editing) fileName() string {
	if t := e.served.GetTemplate(); t != nil {
		return strings.Map(fileRune, path.Base(t.GetName()))
	}
	return strings.Map(fileRune, e.noun.name+"-"+e.id) + ".yaml"
}

// fileRune replaces what some systems do not have in file names.
func fileRune(r rune) rune {
	if strings.ContainsRune(`/\:`, r) {
		return '-'
	}
	return r
}

func (e *editing) unchanged(clean bool) error {
	if clean {
		e.err.line("Nothing has changed.")
		return nil
	}
	return fmt.Errorf("given up; what you wrote is kept in %s", e.file)
}

// edit opens the text with the notes above, and returns it without them.
func (e *editing) edit(ctx context.Context, text string) (string, error) {
	var above strings.Builder
	for line := range strings.Lines(e.notes) {
		fmt.Fprintf(&above, "%s %s\n", noteMark, strings.TrimSuffix(line, "\n"))
	}
	if e.notes != "" {
		fmt.Fprintf(&above, "%s Correct it and save, or close the editor as it is to give up. These lines go away.\n", noteMark)
	}
	if err := os.WriteFile(e.file, []byte(above.String()+text), 0o600); err != nil {
		return "", err
	}
	if err := e.runEditor(ctx); err != nil {
		return "", fmt.Errorf("%w\nThe text is kept in %s", err, e.file)
	}
	saved, err := os.ReadFile(e.file)
	if err != nil {
		return "", err
	}
	for bytes.HasPrefix(saved, []byte(noteMark)) {
		_, saved, _ = bytes.Cut(saved, []byte("\n"))
	}
	// So that what is kept can be used as it is.
	return string(saved), os.WriteFile(e.file, saved, 0o600)
}

// runEditor runs the person's editor, which may have arguments.
func (e *editing) runEditor(ctx context.Context) error {
	command := cmp.Or(e.getenv("VISUAL"), e.getenv("EDITOR"))
	if command == "" {
		command = "vi"
		if runtime.GOOS == "windows" {
			command = "notepad"
		}
	}
	words := strings.Fields(command)
	cmd := exec.CommandContext(ctx, words[0], append(words[1:], e.file)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.in, e.out.Writer, e.err.Writer
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running the editor %q: %w: $EDITOR or $VISUAL names another", command, err)
	}
	return nil
}

// put applies a text, if the object is still the one that was opened.
func (e *editing) put(ctx context.Context, text string) error {
	o, err := e.read(text)
	if err != nil {
		return err
	}
	if got, want := client.Name(refOf(o.pb)), client.Name(refOf(e.served)); got != want {
		return fmt.Errorf("this is %s now, and %s was opened: an id stays; \"apply\" makes another object", got, want)
	}
	revision := metaOf(e.served).GetRevision()
	set := &changeset{app: e.app, put: []object{o}, revision: &revision}
	result, err := set.send(ctx, e.client, sending{})
	if err == nil {
		e.writeWarnings(result.GetWarnings())
		return nil
	}
	return e.overtaken(ctx, err)
}

// read makes an object of the text.
func (e *editing) read(text string) (object, error) {
	from := origin{file: e.file, whole: true}
	if t := e.served.GetTemplate(); t != nil {
		changed := proto.Clone(t).(*matchdpb.Template)
		changed.Content = []byte(text)
		return object{wrap(changed), from}, nil
	}
	r := &reader{seen: map[string]string{}}
	r.documents(e.file, []byte(text), true)
	if len(r.problems) > 0 {
		return object{}, &problemsError{r.problems}
	}
	if len(r.objects) != 1 {
		return object{}, &problemsError{[]site.Problem{{File: e.file, What: "want one document"}}}
	}
	return r.objects[0], nil
}

// overtaken tells what somebody else changed meanwhile, so that the text can take it in; what is saved next is put over that.
func (e *editing) overtaken(ctx context.Context, refused error) error {
	if !client.IsConflict(refused) {
		return refused
	}
	before := e.served
	if err := e.fetch(ctx); err != nil || metaOf(e.served).GetRevision() == metaOf(before).GetRevision() {
		return errors.Join(refused, err)
	}
	who := cmp.Or(metaOf(e.served).GetUpdatedBy(), "somebody else")
	return fmt.Errorf("%w\n%s changed it meanwhile, and this is lost if you save without it:\n%s", refused, who,
		diff.Diff("as you opened it", []byte(plainText(before)), "as it is now", []byte(plainText(e.served))))
}
