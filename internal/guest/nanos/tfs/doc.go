// Package tfs writes and reads TFS, the file system of Nanos unikernels.
//
// A TFS has no tables: a log of records says which tuples there are (a folder,
// a file, the manifest that says which program runs) and what is set on them,
// and data lies in runs of sectors that the log names. Reading it is playing
// the log. What is written here depends on the tree and the options alone, so
// equal trees give equal images, and what is written needs as much memory for a
// file of any size.
//
// The format is that of version 5 of Nanos' src/fs/tlog.c, src/fs/tfs.c and
// src/runtime/tuple.c. Its facts, as far as they matter here:
//
// An extension of the log is a run of sectors: the magic number, the version,
// its length in sectors, and frames. The first one is the first sector and has
// the volume's identifier and label, too. A frame is a whole record or a part of
// one, a link to the next extension, or the end. Numbers are written in groups
// of seven bits, the highest first; all groups but the last have the eighth bit.
//
// A record is a tuple: a header (whether it is new or named by its number, its
// type, a count) and that many attributes, each a name and a value. Names and
// tuples are numbered in the order in which they first appear; number 1 is the
// root folder. A later record that names a tuple by its number sets more
// attributes on it, and so a patch of an image is a record at its log's end.
//
// The package knows nothing of functions, and of a manifest no more than that it
// is a tuple.
package tfs
