package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/unifaas/unifaas/internal/faas"
	"github.com/unifaas/unifaas/internal/sandbox"
)

const actEnv = "UNIFAAS_TEST_FUNCTION"

func TestMain(m *testing.M) {
	if os.Getenv(actEnv) != "" { // started by the driver, as a function
		_ = http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(
			func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served") }))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func start(t *testing.T, env map[string]string) sandbox.Instance {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	output, err := os.Create(t.TempDir() + "/output")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = output.Close() })
	rev := &faas.Revision{
		Function: faas.Function{Ref: faas.NewRef("f"), Command: []string{exe}, Env: env},
		Image:    faas.Image{Rootfs: "/"},
	}
	inst, err := driver{}.Start(t.Context(), nil, sandbox.Spec{ID: "bench-1", Revision: rev, Output: output})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for range 2 { // it is idempotent
			if err := inst.Stop(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	return inst
}

func TestInstanceServes(t *testing.T) {
	inst := start(t, map[string]string{actEnv: "1"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := inst.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	conn, err := inst.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: f\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "served" {
		t.Errorf("answered %q, %v", body, err)
	}
	_ = resp.Body.Close()
}

func TestInstanceThatEnds(t *testing.T) {
	inst := start(t, map[string]string{actEnv: "1", "PORT": "not-a-port"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := inst.Ready(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("ready says %v", err)
	}
	if exit := inst.Wait(); exit.Code != 1 {
		t.Errorf("exit is %+v", exit)
	}
}
