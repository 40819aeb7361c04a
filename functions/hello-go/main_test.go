package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHandler(t *testing.T) {
	for path, want := range map[string]int{
		"/": http.StatusOK, "/hello": http.StatusOK, "/other": http.StatusNotFound,
	} {
		rec := httptest.NewRecorder()
		handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code != want {
			t.Errorf("GET %s: got %d, want %d", path, rec.Code, want)
		}
		if want == http.StatusOK && rec.Body.String() != "Hello from Go\n" {
			t.Errorf("GET %s: got %q", path, rec.Body)
		}
	}
}
