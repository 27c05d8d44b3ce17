package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// problem is RFC 9457's object. Its type is about:blank: the status says it all,
// and detail what to do.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func writeProblem(w http.ResponseWriter, code int, detail string) {
	write(w, "application/problem+json", code, problem{"about:blank", http.StatusText(code), code, detail})
}

func writeJSON(w http.ResponseWriter, body any) {
	write(w, "application/json", http.StatusOK, body)
}

// write sends a body. An error from here on means that the client has gone.
func write(w http.ResponseWriter, contentType string, code int, body any) {
	writeHeader(w, contentType, code)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body)
}

func writeHeader(w http.ResponseWriter, contentType string, code int) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
}

// checkQuery refuses parameters that nobody would look at: a filter with a typing
// error must not show everything.
func checkQuery(w http.ResponseWriter, r *http.Request, known ...string) (ok bool) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		writeProblem(w, http.StatusBadRequest, "the query can't be read")
		return false
	}
	for parameter, values := range query {
		if !slices.Contains(known, parameter) {
			may := "there are none here"
			if len(known) > 0 {
				may = "there are " + strings.Join(known, ", ")
			}
			writeProblem(w, http.StatusBadRequest, fmt.Sprintf("parameter %.64q is not known; %s", parameter, may))
			return false
		}
		if len(values) > 1 {
			writeProblem(w, http.StatusBadRequest, fmt.Sprintf("parameter %s is given more than once", parameter))
			return false
		}
	}
	return true
}
