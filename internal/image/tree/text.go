package tree

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// The canonical text has one line for each node, in the order of the paths:
//
//	type mode(octal) uid gid mtime size content attributes "target" "path"
//
// with "-" for what is empty; strings are quoted as in Go, in ASCII. The
// attributes are the capability in hexadecimal and, if there are others, a
// comma and those as EncodeXattrs writes them.
const header = "unifaas-tree-1\n"

// Text returns the canonical text.
func (t *Tree) Text() []byte {
	b := []byte(header)
	for _, name := range t.names() {
		b = AppendLine(b, "/"+name, t.nodes[name])
	}
	return b
}

// AppendLine appends the line of the canonical text for n at the path p.
func AppendLine(b []byte, p string, n Node) []byte {
	b = append(b, byte(n.Type), ' ')
	b = strconv.AppendUint(b, uint64(n.Mode), 8)
	for _, v := range [...]int64{int64(n.UID), int64(n.GID), n.MTime, n.Size} {
		b = append(b, ' ')
		b = strconv.AppendInt(b, v, 10)
	}
	b = append(b, ' ')
	b = append(b, orDash(n.Content)...)
	b = append(b, ' ')
	b = append(b, orDash(attributes(n))...)
	b = append(b, ' ')
	b = strconv.AppendQuoteToASCII(b, n.Target)
	b = append(b, ' ')
	b = strconv.AppendQuoteToASCII(b, p)
	return append(b, '\n')
}

func attributes(n Node) string {
	s := hex.EncodeToString([]byte(n.Capability))
	if n.Xattrs != "" {
		s += "," + n.Xattrs
	}
	return s
}

// Digest returns the SHA-256 of the canonical text, in hexadecimal.
func (t *Tree) Digest() string { return DigestOf(t.Text()) }

// DigestOf returns the digest of the tree that has the given canonical text.
func DigestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Parse reads a canonical text. What it returns has the same text again, or
// it is an error.
func Parse(text []byte) (*Tree, error) {
	rest, ok := bytes.CutPrefix(text, []byte(header))
	if !ok {
		return nil, errors.New("parse tree: no header")
	}
	t := &Tree{nodes: map[string]Node{}}
	s := bufio.NewScanner(bytes.NewReader(rest))
	s.Buffer(nil, 1<<20)
	for line := 2; s.Scan(); line++ {
		p, n, err := ParseLine(s.Text(), "dfl")
		if err != nil {
			return nil, fmt.Errorf("parse tree: line %d: %w", line, err)
		}
		t.nodes[strings.TrimPrefix(p, "/")] = n
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("parse tree: %w", err)
	}
	if !bytes.Equal(t.Text(), text) {
		return nil, errors.New("parse tree: the text is not canonical")
	}
	return t, t.check()
}

// check makes sure that every node's parent is a folder.
func (t *Tree) check() error {
	for name := range t.nodes {
		if p, ok := t.nodes[parent(name)]; !ok || p.Type != Dir {
			return fmt.Errorf("parse tree: %q is in no folder", "/"+name)
		}
	}
	return nil
}

// ParseLine reads what AppendLine has written, without the newline: the path
// and the node, whose type must be a letter of types.
func ParseLine(line, types string) (string, Node, error) {
	fields := strings.SplitN(line, " ", 9)
	if len(fields) != 9 || len(fields[0]) != 1 || strings.IndexByte(types, fields[0][0]) < 0 {
		return "", Node{}, errors.New("malformed")
	}
	n := Node{Type: Type(fields[0][0])}
	var errs [8]error
	var mode, uid, gid uint64
	mode, errs[0] = strconv.ParseUint(fields[1], 8, 12)
	uid, errs[1] = strconv.ParseUint(fields[2], 10, 32)
	gid, errs[2] = strconv.ParseUint(fields[3], 10, 32)
	n.MTime, errs[3] = strconv.ParseInt(fields[4], 10, 64)
	n.Size, errs[4] = strconv.ParseInt(fields[5], 10, 64)
	n.Mode, n.UID, n.GID = uint32(mode), uint32(uid), uint32(gid)
	if fields[6] != "-" {
		n.Content = fields[6]
	}
	if fields[7] != "-" {
		capability, others, _ := strings.Cut(fields[7], ",")
		var b []byte
		b, errs[5] = hex.DecodeString(capability)
		n.Capability, n.Xattrs = string(b), others
	}
	quoted, err := strconv.QuotedPrefix(fields[8])
	if err != nil {
		return "", Node{}, err
	}
	n.Target, errs[6] = strconv.Unquote(quoted)
	p, err := strconv.Unquote(strings.TrimPrefix(fields[8][len(quoted):], " "))
	errs[7] = err
	if err := errors.Join(errs[:]...); err != nil {
		return "", Node{}, err
	}
	if !strings.HasPrefix(p, "/") || path.Clean(p) != p {
		return "", Node{}, fmt.Errorf("%q is no clean absolute path", p)
	}
	if n.Type == File && !isDigest(n.Content) {
		return "", Node{}, fmt.Errorf("%q has no digest", p)
	}
	if _, err := DecodeXattrs(n.Xattrs); err != nil {
		return "", Node{}, fmt.Errorf("%q: %w", p, err)
	}
	return p, n, nil
}

func isDigest(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && strings.ToLower(s) == s
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
