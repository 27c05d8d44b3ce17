// Package auditing asks the questions of package audit for the seamark command and for
// global-dns's HTTP interface, and gives the answers the form that both of them show as
// JSON. The questions may be asked of a History (the stream, an archive, an export), or by
// HTTP of a global-dns, which asks its own.
//
// It promises that both ways give the same answer to the same question, and that what is
// wrong with a question is told in one sentence with what to ask instead. It decides
// nothing and writes nothing.
package auditing
