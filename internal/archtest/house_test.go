package archtest_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// house is the module's source as the rules see it.
type house struct {
	module   string
	packages []*pkg
	// mapped lists the directories that the map names.
	mapped []string
}

// pkg is one directory with Go files.
type pkg struct {
	dir   string
	files []*file
}

type file struct {
	path string
	test bool
	// name is the package clause's.
	name       string
	documented bool
	lines      int
	imports    []string
	inits      []int
	uses       []use
}

// use is a mention of a name of an imported package.
type use struct {
	path, name string
	line       int
}

// readHouse reads every Go file of the module at the root of tree, of all build constraints, and the map. Other modules,
// testdata and directories that start with a dot or an underscore are no part of the house.
func readHouse(tree fs.FS) (*house, error) {
	module, err := readModule(tree)
	if err != nil {
		return nil, err
	}
	h := &house{module: module}
	dirs := map[string]*pkg{}
	err = fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skipDir(tree, name)
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		f, err := readFile(tree, name)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		if dirs[dir] == nil {
			dirs[dir] = &pkg{dir: dir}
			h.packages = append(h.packages, dirs[dir])
		}
		dirs[dir].files = append(dirs[dir].files, f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	h.mapped, err = readMap(tree)
	return h, err
}

func readModule(tree fs.FS) (string, error) {
	mod, err := fs.ReadFile(tree, "go.mod")
	if err != nil {
		return "", fmt.Errorf("module at the root: %w", err)
	}
	for line := range strings.Lines(string(mod)) {
		if name, ok := strings.CutPrefix(line, "module "); ok {
			return strings.TrimSpace(name), nil
		}
	}
	return "", errors.New("go.mod names no module")
}

func skipDir(tree fs.FS, name string) error {
	if name == "." {
		return nil
	}
	base := path.Base(name)
	if base == "testdata" || base[0] == '.' || base[0] == '_' {
		return fs.SkipDir
	}
	if _, err := fs.Stat(tree, path.Join(name, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func readFile(tree fs.FS, name string) (*file, error) {
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &file{
		path:       name,
		test:       strings.HasSuffix(name, "_test.go"),
		name:       syntax.Name.Name,
		documented: syntax.Doc != nil && strings.TrimSpace(syntax.Doc.Text()) != "",
		lines:      bytes.Count(text, []byte("\n")),
	}
	local := map[string]string{}
	for _, spec := range syntax.Imports {
		imported := strings.Trim(spec.Path.Value, `"`+"`")
		f.imports = append(f.imports, imported)
		if spec.Name != nil {
			local[spec.Name.Name] = imported
		} else {
			local[path.Base(imported)] = imported
		}
	}
	ast.Inspect(syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				f.inits = append(f.inits, set.Position(n.Pos()).Line)
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && local[x.Name] != "" {
				f.uses = append(f.uses, use{local[x.Name], n.Sel.Name, set.Position(n.Pos()).Line})
			}
		}
		return true
	})
	return f, nil
}

// readMap returns the directories that the map's section names between backquotes at the start of a table's row.
func readMap(tree fs.FS) ([]string, error) {
	text, err := fs.ReadFile(tree, mapFile)
	if err != nil {
		return nil, err
	}
	var dirs []string
	inside := false
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "## ") {
			inside = line == mapHeading
		}
		if row, ok := strings.CutPrefix(line, "| `"); ok && inside {
			dir, _, _ := strings.Cut(row, "`")
			dirs = append(dirs, dir)
		}
	}
	return dirs, lines.Err()
}

// production returns the package's files that are no tests.
func (p *pkg) production() []*file {
	return slices.DeleteFunc(slices.Clone(p.files), func(f *file) bool { return f.test })
}

// local returns the directory of an import of this module.
func (h *house) local(imported string) (dir string, ok bool) {
	return strings.CutPrefix(imported, h.module+"/")
}

// matches says whether the pattern names dir, and which unit of the tree dir belongs to.
func matches(pattern, dir string) (unit string, ok bool) {
	if parent, each := strings.CutSuffix(pattern, "/*"); each {
		rest, below := strings.CutPrefix(dir, parent+"/")
		if !below {
			return "", false
		}
		first, _, _ := strings.Cut(rest, "/")
		return parent + "/" + first, true
	}
	if root, all := strings.CutSuffix(pattern, "/..."); all {
		return root, under(root, dir)
	}
	return pattern, dir == pattern
}

// matchesAny says whether one of the patterns names dir.
func matchesAny(patterns []string, dir string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		_, ok := matches(pattern, dir)
		return ok
	})
}

// under says whether name is root or below it.
func under(root, name string) bool {
	return name == root || strings.HasPrefix(name, root+"/")
}

// floor returns the layer of dir and its unit there; the most exact pattern decides. It is nil when no layer has dir.
func floor(dir string) (l *layer, unit string) {
	best := -1
	for i := range layers {
		for _, pattern := range layers[i].packages {
			if u, ok := matches(pattern, dir); ok && len(pattern) > best {
				best, l, unit = len(pattern), &layers[i], u
			}
		}
	}
	return l, unit
}
