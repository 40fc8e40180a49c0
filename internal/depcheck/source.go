package depcheck

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"go/types"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Source checks the text of the package p, whose GoFiles are in dir: blank
// imports, init functions, package variables, use of the environment, sizes.
//
// A package variable passes if it cannot change: it is blank, or has an
// initialiser that calls nothing but PureCalls, is of no type of sync except
// [sync.Pool] (which holds memory and no meaning), and nothing in the package
// assigns to it, into it, or takes its address. Exported ones must be errors,
// named Err…, because nobody can see who assigns to them. Embedded files are like
// constants. So read-only tables are fine: a constant cannot be a slice or a map,
// and a function that builds one anew costs at each call.
func (r Rules) Source(p Package, dir fs.FS) ([]Problem, error) {
	s := source{rules: r, pkg: p, fset: token.NewFileSet()}
	s.name, _ = r.cut(p.ImportPath)
	for _, name := range p.GoFiles {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, fmt.Errorf("depcheck: %w", err)
		}
		file, err := parser.ParseFile(s.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("depcheck: parse %s: %w", p.ImportPath, err)
		}
		s.files = append(s.files, file)
		s.code += codeLines(text)
		if n := s.fset.File(file.Pos()).LineCount(); n > r.MaxFile {
			s.report(file.Pos(), "size", "%d lines, at most %d", n, r.MaxFile)
		}
	}
	s.checkSize()
	s.resolve()
	for _, file := range s.files {
		s.checkImports(file)
		s.checkDecls(file)
		s.checkUses(file)
	}
	return s.problems, nil
}

type source struct {
	rules    Rules
	pkg      Package
	name     string
	fset     *token.FileSet
	files    []*ast.File
	code     int
	scope    *types.Scope
	info     types.Info
	problems []Problem
}

func (s *source) report(at token.Pos, rule, format string, args ...any) {
	detail := fmt.Sprintf(format, args...)
	if at.IsValid() {
		detail = s.fset.Position(at).String() + ": " + detail
	}
	s.problems = append(s.problems, Problem{s.pkg.ImportPath, rule, detail})
}

func (s *source) checkSize() {
	limit, own := s.rules.Sizes[s.name]
	if !own {
		limit = s.rules.MaxPackage
	}
	if s.code > limit {
		s.report(token.NoPos, "size", "%d lines of code, at most %d", s.code, limit)
	}
}

// codeLines counts the lines that hold more than comments and space.
func codeLines(text []byte) int {
	fset := token.NewFileSet()
	file := fset.AddFile("", -1, len(text))
	var scan scanner.Scanner
	scan.Init(file, text, nil, 0)
	n, last := 0, 0
	for {
		pos, tok, lit := scan.Scan()
		if tok == token.EOF {
			return n
		}
		if tok == token.SEMICOLON && lit == "\n" {
			continue
		}
		first := file.Line(pos)
		end := first + strings.Count(lit, "\n") // a raw string has many
		n += end - max(first-1, last)
		last = end
	}
}

// resolve finds out which identifier means which variable. It does so without
// the packages that are imported, whose names it then just does not know.
func (s *source) resolve() {
	s.info = types.Info{Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: nothing{}, Error: func(error) {}}
	if pkg, _ := conf.Check(s.pkg.ImportPath, s.fset, s.files, &s.info); pkg != nil {
		s.scope = pkg.Scope()
	}
}

type nothing struct{}

func (nothing) Import(string) (*types.Package, error) { return nil, errors.New("not needed") }

func (s *source) checkImports(file *ast.File) {
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		// go:embed into a string asks for this one, and it does nothing.
		if spec.Name != nil && spec.Name.Name == "_" && path != "embed" {
			s.report(spec.Pos(), "blank import", "%s is imported for its effects", path)
		}
	}
}

func (s *source) checkDecls(file *ast.File) {
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				s.report(d.Pos(), "init", "what happens at import surprises")
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok && d.Tok == token.VAR && !embedded(d, v) {
					s.checkVar(v)
				}
			}
		}
	}
}

// embedded reports whether go:embed fills the variable.
func embedded(d *ast.GenDecl, v *ast.ValueSpec) bool {
	for _, doc := range []*ast.CommentGroup{d.Doc, v.Doc} {
		if doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") }) {
			return true
		}
	}
	return false
}

func (s *source) checkVar(v *ast.ValueSpec) {
	for _, name := range v.Names {
		switch {
		case name.Name == "_":
		case len(v.Values) == 0:
			s.report(name.Pos(), "variable", "%s has no value: it is there to be changed", name.Name)
		case name.IsExported() && !strings.HasPrefix(name.Name, "Err"):
			s.report(name.Pos(), "variable", "anybody can change the exported %s", name.Name)
		}
	}
	for _, value := range append(slices.Clone(v.Values), typed(v)...) {
		s.checkInitialiser(value)
	}
}

func typed(v *ast.ValueSpec) []ast.Expr {
	if v.Type == nil {
		return nil
	}
	return []ast.Expr{v.Type}
}

// checkInitialiser looks into what runs at import, which is not what stands in
// the body of a function literal.
func (s *source) checkInitialiser(e ast.Expr) {
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.CallExpr:
			if name := types.ExprString(n.Fun); !s.pureCall(n.Fun) {
				s.report(n.Pos(), "variable", "%s runs at import", name)
			}
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); ok && (pkg.Name == "sync" || pkg.Name == "atomic") && n.Sel.Name != "Pool" {
				s.report(n.Pos(), "variable", "%s is there to be changed", types.ExprString(n))
			}
		}
		return true
	})
}

// pureCall accepts a pure function, a conversion of what cannot be called, and a
// method of what a pure function returned.
func (s *source) pureCall(fun ast.Expr) bool {
	switch f := fun.(type) {
	case *ast.ArrayType, *ast.ParenExpr: // []byte("…"), (*T)(nil)
		return true
	case *ast.SelectorExpr:
		if call, ok := f.X.(*ast.CallExpr); ok {
			return s.pureCall(call.Fun)
		}
	}
	return slices.Contains(s.rules.PureCalls, types.ExprString(fun))
}

// checkUses finds what changes package variables or reads the environment.
func (s *source) checkUses(file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, target := range n.Lhs {
				s.checkChange(target, "assigned to")
			}
		case *ast.IncDecStmt:
			s.checkChange(n.X, "assigned to")
		case *ast.RangeStmt:
			s.checkChange(n.Key, "assigned to")
			s.checkChange(n.Value, "assigned to")
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				s.checkChange(n.X, "passed by address")
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "delete" || f.Name == "clear" || f.Name == "copy") && len(n.Args) > 0 {
				s.checkChange(n.Args[0], "changed by "+f.Name)
			}
		case *ast.SelectorExpr:
			s.checkEnv(n)
		}
		return true
	})
}

// checkChange reports a change of e if e is a package variable or a part of one.
func (s *source) checkChange(e ast.Expr, how string) {
	at := e
	for {
		switch x := e.(type) {
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.Ident:
			if v, ok := s.info.Uses[x].(*types.Var); ok && s.scope != nil && v.Parent() == s.scope {
				s.report(at.Pos(), "variable", "%s is %s", x.Name, how)
			}
			return
		default:
			return
		}
	}
}

// checkEnv leaves the environment and the command line to those who configure.
func (s *source) checkEnv(n *ast.SelectorExpr) {
	uses := []string{"os.Getenv", "os.LookupEnv", "os.Environ", "os.ExpandEnv", "os.Args", "syscall.Getenv"}
	if name := types.ExprString(n); slices.Contains(uses, name) && !within(s.name, s.rules.EnvUsers) {
		s.report(n.Pos(), "environment", "%s is read by %s alone", name, strings.Join(s.rules.EnvUsers, ", "))
	}
}
