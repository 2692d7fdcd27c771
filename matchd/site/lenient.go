package site

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"reflect"
	"strings"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/trial"
	"github.com/matchd/matchd/profiles"
)

// ReadLenient reads matchbox's data directory as matchbox does: a file that cannot be used is left out, with its problem among
// [Site.LeftOut], and the others are served. Unknown fields are warnings. Groups and profiles are files ending in .json, known by the file's name. Nothing
// is tried and references may lead nowhere. The error is that of a directory that cannot be read at all.
func ReadLenient(dir string) (*Site, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the data directory: %w", err)
	}
	defer root.Close()
	r := &reading{root: root, site: &Site{Dir: dir}, digest: sha256.New(), named: map[string]string{}, failed: map[string]bool{}, lenient: true}
	if err := r.all(); err != nil {
		return nil, err
	}
	r.site.LeftOut = trial.Sort(r.problems.Problems)
	trial.Sort(r.site.Warnings)
	io.WriteString(r.digest, r.problems.Error()) // a hash does not fail
	r.digest.Sum(r.site.digest[:0])
	return r.site, nil
}

// lenientFile takes the file of a group or a profile.
func (r *reading) lenientFile(dir string, from textFile) {
	if path.Ext(from.name) != ".json" {
		r.warn(from.name, "is not read: "+dir+" are files ending in .json")
		return
	}
	if dir == groupsDir {
		lenientObject(r, &r.site.Groups, from, lenientGroup)
	} else {
		lenientObject(r, &r.site.Profiles, from, lenientProfile)
	}
}

// lenientObject decodes what can be decoded. check gets the object and the name of its file, and says why it cannot be used.
func lenientObject[T any](r *reading, list *[]Object[T], from textFile, check func(*T, string) (id string, err error)) {
	strict := &decoder{file: from.name, source: from.data}
	object := Object[T]{File: from.name, source: from.data}
	if root := strict.parse(); root != nil {
		var read T
		strict.value(root, reflect.ValueOf(&read).Elem(), "", 0)
		object.places = strict.places
	}
	if err := json.Unmarshal(from.data, &object.Value); err != nil {
		if len(strict.problems.Problems) == 0 {
			strict.add(nil, "is not valid JSON: "+err.Error())
		}
		r.leaveOut(from.name, strict.problems.Problems)
		return
	}
	name := withoutExtension(path.Base(from.name))
	id, err := check(&object.Value, name)
	if err != nil {
		var problems []Problem
		for _, each := range flatten(err) {
			field, _, _ := strings.Cut(each.Error(), ": ")
			problems = append(problems, object.problem(field, each.Error()))
		}
		r.leaveOut(from.name, problems)
		return
	}
	r.site.Warnings = append(r.site.Warnings, strict.problems.Problems...) // what the strict reader would refuse, such as unknown fields
	if id != name {
		r.site.Warnings = append(r.site.Warnings, object.problem("id", fmt.Sprintf("the id is %q, after the file's name, and not %q", name, id)))
	}
	*list = append(*list, object)
}

func (r *reading) leaveOut(file string, problems []Problem) {
	r.fail(file, "")
	for _, problem := range problems {
		r.problems.add(problem)
	}
}

// UsableGroup says in an error why a group could never work, by the rules of [ReadLenient]. It need not have been read from a file.
func UsableGroup(g groups.Group) error {
	_, err := lenientGroup(&g, g.ID)
	return err
}

// UsableProfile is UsableGroup for profiles.
func UsableProfile(p profiles.Profile) error {
	_, err := lenientProfile(&p, p.ID)
	return err
}

// lenientGroup names the group after its file and returns the id that it had. It waives what matchbox lives with.
func lenientGroup(g *groups.Group, name string) (id string, err error) {
	id, g.ID = g.ID, name
	if id == "" {
		return id, errors.New("id: is missing, and matchbox leaves such a group out, too")
	}
	return id, waive(g.Validate(), func(problem string) bool { return strings.HasPrefix(problem, "metadata.request:") })
}

// lenientProfile is lenientGroup for profiles.
func lenientProfile(p *profiles.Profile, name string) (id string, err error) {
	id, p.ID = p.ID, name
	if id == "" {
		return id, errors.New("id: is missing, and matchbox leaves such a profile out, too")
	}
	// White space in a kernel's URL is how arguments were once written, and an empty argument does no harm; a line break would be another command.
	clean := !strings.ContainsFunc(p.Boot.Kernel+strings.Join(p.Boot.Args, ""), func(c rune) bool { return c < 0x20 || c == 0x7f })
	return id, waive(p.Validate(), func(problem string) bool {
		return clean && (strings.HasPrefix(problem, "boot.kernel:") || strings.HasPrefix(problem, "boot.args["))
	})
}

// waive drops those of joined errors that are harmless.
func waive(err error, harmless func(string) bool) error {
	var kept []error
	for _, each := range flatten(err) {
		if !harmless(each.Error()) {
			kept = append(kept, each)
		}
	}
	return errors.Join(kept...)
}
