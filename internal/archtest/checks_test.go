package archtest_test

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

func packagesHaveALayer(h *house) (broken []string) {
	for _, p := range h.packages {
		if l, _ := floor(p.dir); l == nil {
			broken = append(broken, p.dir+" belongs to no layer: give it one in the table of archtest")
		}
	}
	return broken
}

func layersImportDownwards(h *house) (broken []string) {
	for _, p := range h.packages {
		l, unit := floor(p.dir)
		if l == nil || l.name == workshop {
			continue
		}
		for _, f := range p.files {
			if f.test && l.anyTests {
				continue
			}
			for _, imported := range f.imports {
				dir, ok := h.local(imported)
				if ok && !mayImport(l, unit, dir) {
					broken = append(broken, fmt.Sprintf("%s: %s (%s) may not import %s", f.path, p.dir, l.name, dir))
				}
			}
		}
	}
	return broken
}

func mayImport(l *layer, unit, dir string) bool {
	other, otherUnit := floor(dir)
	switch {
	case other == nil:
		return false
	case other.name == workshop:
		return true // workshopServesTests judges it
	case other.name == l.name && otherUnit == unit:
		return true
	}
	return slices.Contains(l.imports, other.name) || matchesAny(l.also, dir)
}

func bareLayersUseTheStandardLibrary(h *house) (broken []string) {
	for _, f := range h.productionOf(func(l *layer) bool { return l.bare }) {
		for _, imported := range f.imports {
			if _, ours := h.local(imported); !ours && isOutside(imported) {
				broken = append(broken, fmt.Sprintf("%s: imports %s; only the standard library is free here", f.path, imported))
			}
		}
	}
	return broken
}

func pureLayersDoNoInputOrOutput(h *house) (broken []string) {
	for _, f := range h.productionOf(func(l *layer) bool { return l.pure }) {
		for _, imported := range f.imports {
			if slices.Contains(pureImports, imported) {
				broken = append(broken, fmt.Sprintf("%s: imports %s; this layer does no input or output", f.path, imported))
			}
		}
	}
	return broken
}

func librariesHaveOwners(h *house) (broken []string) {
	for _, p := range h.packages {
		if l, _ := floor(p.dir); l != nil && l.name == workshop {
			continue
		}
		for _, f := range p.production() {
			for _, imported := range f.imports {
				if _, ours := h.local(imported); ours {
					continue
				}
				owned := ownerOf(imported)
				switch {
				case owned == nil && isOutside(imported):
					broken = append(broken, fmt.Sprintf("%s: %s has no owner: name one in the table of archtest", f.path, imported))
				case owned != nil && !matchesAny(owned.owners, p.dir):
					broken = append(broken, fmt.Sprintf("%s: %s belongs to %s", f.path, imported, owners(owned.owners)))
				}
			}
		}
	}
	return broken
}

// ownerOf returns the most exact row of libraries for an import, or nil.
func ownerOf(imported string) (found *library) {
	for i := range libraries {
		if under(libraries[i].path, imported) && (found == nil || len(libraries[i].path) > len(found.path)) {
			found = &libraries[i]
		}
	}
	return found
}

func owners(patterns []string) string {
	if len(patterns) == 0 {
		return "tests only"
	}
	return strings.Join(patterns, ", ")
}

// isOutside says whether an import is of neither the standard library nor this module; the first part of a module's path
// from outside is a host with a dot.
func isOutside(imported string) bool {
	host, _, _ := strings.Cut(imported, "/")
	return strings.Contains(host, ".")
}

func workshopServesTests(h *house) (broken []string) {
	for _, p := range h.packages {
		if l, _ := floor(p.dir); l != nil && l.name == workshop {
			continue
		}
		for _, f := range p.production() {
			for _, imported := range f.imports {
				dir, ours := h.local(imported)
				if l, _ := floor(dir); ours && l != nil && l.name == workshop && !mayUseWorkshop(p.dir, dir) {
					broken = append(broken, fmt.Sprintf("%s: %s is for tests", f.path, dir))
				}
			}
		}
	}
	return broken
}

func mayUseWorkshop(importer, dir string) bool {
	for pattern, importers := range workshopImporters {
		if matchesAny([]string{pattern}, dir) && matchesAny(importers, importer) {
			return true
		}
	}
	return false
}

func commandsStayLight(h *house) (broken []string) {
	for _, command := range slices.Sorted(maps.Keys(lightness)) {
		if h.find(command) != nil {
			broken = append(broken, h.tooHeavy(command, h.reach(command))...)
		}
	}
	return broken
}

// tooHeavy returns what of linked, a list of import paths, a command's binary may not contain.
func (h *house) tooHeavy(command string, linked []string) (broken []string) {
	for _, imported := range linked {
		name := imported
		if dir, ours := h.local(imported); ours {
			name = dir
		}
		for _, heavy := range lightness[command] {
			if matchesAny([]string{heavy}, name) || under(heavy, name) {
				broken = append(broken, fmt.Sprintf("%s: links %s", command, name))
			}
		}
	}
	return broken
}

// reach returns every import path that the production code of dir comes to through packages of this module.
func (h *house) reach(dir string) []string {
	seen := map[string]bool{}
	var walk func(dir string)
	walk = func(dir string) {
		p := h.find(dir)
		if p == nil {
			return
		}
		for _, f := range p.production() {
			for _, imported := range f.imports {
				if seen[imported] {
					continue
				}
				seen[imported] = true
				if next, ours := h.local(imported); ours {
					walk(next)
				}
			}
		}
	}
	walk(dir)
	return slices.Sorted(maps.Keys(seen))
}

func (h *house) find(dir string) *pkg {
	for _, p := range h.packages {
		if p.dir == dir {
			return p
		}
	}
	return nil
}

// productionOf returns the files, tests aside, of the layers that want picks.
func (h *house) productionOf(want func(*layer) bool) (files []*file) {
	for _, p := range h.packages {
		if l, _ := floor(p.dir); l != nil && want(l) {
			files = append(files, p.production()...)
		}
	}
	return files
}

func reservedNamesAreLeftAlone(h *house) (broken []string) {
	for _, p := range h.packages {
		l, _ := floor(p.dir)
		for _, f := range p.files {
			serves := f.test || l != nil && l.name == workshop
			for _, u := range f.uses {
				for _, r := range reservedNames {
					if r.path != u.path || r.name != u.name || matchesAny(r.owners, p.dir) || serves && !r.testsToo {
						continue
					}
					broken = append(broken, fmt.Sprintf("%s:%d: %s.%s: %s", f.path, u.line, path.Base(u.path), u.name, r.instead))
				}
			}
		}
	}
	return broken
}

func noInit(h *house) (broken []string) {
	for _, p := range h.packages {
		for _, f := range p.files {
			for _, line := range f.inits {
				broken = append(broken, fmt.Sprintf("%s:%d: init: build it in a constructor", f.path, line))
			}
		}
	}
	return broken
}

func packagesAreNamed(h *house) (broken []string) {
	for _, p := range h.packages {
		for _, name := range []string{path.Base(p.dir), strings.TrimSuffix(p.files[0].name, "_test")} {
			if slices.Contains(emptyNames, name) {
				broken = append(broken, fmt.Sprintf("%s: %q says nothing of what the package gives", p.dir, name))
				break
			}
		}
	}
	return broken
}

func packagesAreDocumented(h *house) (broken []string) {
	for _, p := range h.packages {
		files := p.production()
		if len(files) == 0 {
			files = p.files
		}
		if !slices.ContainsFunc(files, func(f *file) bool { return f.documented }) {
			broken = append(broken, p.dir+" has no package comment")
		}
	}
	return broken
}

func filesAreShort(h *house) (broken []string) {
	for _, p := range h.packages {
		for _, f := range p.files {
			if f.lines > maxLines {
				broken = append(broken, fmt.Sprintf("%s: %d lines, at most %d: it tells two stories", f.path, f.lines, maxLines))
			}
		}
	}
	return broken
}

func theMapIsTrue(h *house) (broken []string) {
	for _, p := range h.packages {
		if !slices.Contains(h.mapped, p.dir) {
			broken = append(broken, fmt.Sprintf("%s is missing in %s, section %q", p.dir, mapFile, mapHeading))
		}
	}
	for _, dir := range h.mapped {
		if h.find(dir) == nil {
			broken = append(broken, fmt.Sprintf("%s: section %q names %s, which is not there", mapFile, mapHeading, dir))
		}
	}
	return broken
}
