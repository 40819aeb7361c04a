package cas_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/unifaas/unifaas/internal/image/cas"
	"github.com/unifaas/unifaas/internal/image/tree"
)

// The test binary is also a second process on the same store.
const helperEnv = "UNIFAAS_TEST_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperEnv); dir != "" {
		helper(dir)
		return
	}
	os.Exit(m.Run())
}

const helperTrees = 40

// helper commits trees, one after the other, and says so.
func helper(dir string) {
	s, err := cas.Open(dir)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := range helperTrees {
		tr, b := helperTree(i)
		if _, err := s.Commit(context.Background(), tr, b.open, nil); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("committed", i)
	}
}

func helperTree(i int) (*tree.Tree, *bag) {
	b, tr := newBag(), tree.New()
	for j := range 4 {
		// Cannot fail: the paths are disjoint.
		_, _ = tr.Put(fmt.Sprintf("/d%d/f", j), b.file(fmt.Sprint("content ", i*2+j)))
	}
	return tr, b
}

func startHelper(t *testing.T, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

func TestTwoProcessesShareAStore(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var cmds []*exec.Cmd
	for range 2 {
		cmd, lines := startHelper(t, dir)
		cmds = append(cmds, cmd)
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		go func() {
			for lines.Scan() {
				if !strings.HasPrefix(lines.Text(), "committed") {
					t.Error(lines.Text())
				}
			}
		}()
	}
	for i := range helperTrees {
		tr, b := helperTree(i)
		commit(t, s, tr, b)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	checkStore(t, s)
}

// However a process is killed, what is visible is whole.
func TestKilledProcessLeavesNoTornTree(t *testing.T) {
	dir := t.TempDir()
	for _, kill := range []int{0, 1, 3, 7} {
		cmd, lines := startHelper(t, dir)
		for range kill + 1 {
			lines.Scan()
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		s := open(t, dir)
		if n := count(t, s, "tmp"); n != 0 {
			t.Errorf("%d files are left in tmp", n)
		}
		checkStore(t, s)
	}
}

// checkStore verifies every tree that is visible.
func checkStore(t *testing.T, s *cas.Store) {
	t.Helper()
	entries, err := os.ReadDir(s.Dir() + "/trees")
	if err != nil || len(entries) == 0 {
		t.Fatal("no trees", err)
	}
	for _, e := range entries {
		if err := s.Verify(t.Context(), e.Name()); err != nil {
			t.Error(err)
		}
	}
}
