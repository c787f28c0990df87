// Computes with Go's packages for transparency logs what the tests compare with ours.
//
// It reads a JSON object from standard input, and writes one to standard output.
package main

import (
	"crypto/rand"
	"encoding/json"
	"os"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type proof struct {
	Index  int64
	Size   int64
	Record []byte
	Root   []byte
	Hashes [][]byte
}

type order struct {
	Records [][]byte // of a log, in their order
	Proofs  []proof  // to be checked
	Note    string   // to be opened with Key
	Key     string
	Name    string // in which Text is signed with a new key
	Text    string
}

type answer struct {
	Roots    [][]byte // of the trees with 1, 2, ... records
	Proofs   []proof  // of each record in the whole tree
	Accepted []bool   // for each proof to be checked
	Opened   string
	Fault    string
	Signed   string
	Key      string
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func hash(data []byte) (hash tlog.Hash) {
	copy(hash[:], data)
	return hash
}

func tree(records [][]byte) (roots [][]byte, proofs []proof) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var hashes []tlog.Hash
		for _, index := range indexes {
			hashes = append(hashes, stored[index])
		}
		return hashes, nil
	})
	for at, record := range records {
		hashes, err := tlog.StoredHashes(int64(at), record, reader)
		must(err)
		stored = append(stored, hashes...)
		root, err := tlog.TreeHash(int64(at+1), reader)
		must(err)
		roots = append(roots, root[:])
	}
	size := int64(len(records))
	for at, record := range records {
		hashes, err := tlog.ProveRecord(size, int64(at), reader)
		must(err)
		made := proof{Index: int64(at), Size: size, Record: record, Root: roots[size-1]}
		for _, hash := range hashes {
			made.Hashes = append(made.Hashes, append([]byte{}, hash[:]...))
		}
		proofs = append(proofs, made)
	}
	return roots, proofs
}

func accepts(one proof) bool {
	hashes := tlog.RecordProof{}
	for _, each := range one.Hashes {
		hashes = append(hashes, hash(each))
	}
	leaf := tlog.RecordHash(one.Record)
	return tlog.CheckRecord(hashes, one.Size, hash(one.Root), one.Index, leaf) == nil
}

func open(told *answer, text string, key string) {
	verifier, err := note.NewVerifier(key)
	must(err)
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		told.Fault = err.Error()
		return
	}
	told.Opened = opened.Text
}

func sign(told *answer, name string, text string) {
	private, public, err := note.GenerateKey(rand.Reader, name)
	must(err)
	signer, err := note.NewSigner(private)
	must(err)
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	must(err)
	told.Signed, told.Key = string(signed), public
}

func main() {
	var asked order
	must(json.NewDecoder(os.Stdin).Decode(&asked))
	var told answer
	told.Roots, told.Proofs = tree(asked.Records)
	for _, one := range asked.Proofs {
		told.Accepted = append(told.Accepted, accepts(one))
	}
	if asked.Note != "" {
		open(&told, asked.Note, asked.Key)
	}
	if asked.Text != "" {
		sign(&told, asked.Name, asked.Text)
	}
	must(json.NewEncoder(os.Stdout).Encode(told))
}
