// The reader that engines have, for the comparison in tests/it/tarfile.rs: Go's own archive/tar.
//
// Reads archives from stdin, each behind its length (8 bytes, big endian), and answers each with a line of JSON:
// {"entries": […]} or {"error": "…"}, as tarfile_peer.py does.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"os"
	"strings"
)

const modeBits = 0o1777

type answer struct {
	Entries [][]any `json:"entries"`
	Error   string  `json:"error,omitempty"`
}

func isOfTrain(name string) bool {
	for _, area := range []string{"opt/pht_train", "opt/pht_results"} {
		if name == area || strings.HasPrefix(name, area+"/") {
			return true
		}
	}
	return false
}

func read(archive []byte) ([][]any, error) {
	entries := [][]any{}
	reader := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		name := strings.TrimRight(header.Name, "/")
		for strings.HasPrefix(name, "./") {
			name = name[2:]
		}
		if !isOfTrain(name) {
			continue
		}
		kind := "other"
		var digest any
		switch header.Typeflag {
		case tar.TypeReg, tar.TypeRegA, tar.TypeCont:
			content := sha256.New()
			if _, err := io.Copy(content, reader); err != nil {
				return nil, err
			}
			kind, digest = "file", hex.EncodeToString(content.Sum(nil))
		case tar.TypeDir:
			kind = "directory"
		}
		entries = append(entries, []any{hex.EncodeToString([]byte(name)), kind, header.Size, digest, header.Mode & modeBits, header.Uid, header.Gid})
	}
}

func main() {
	in, out := bufio.NewReader(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var length uint64
		if err := binary.Read(in, binary.BigEndian, &length); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		archive := make([]byte, length)
		if _, err := io.ReadFull(in, archive); err != nil {
			log.Fatal(err)
		}
		entries, err := read(archive)
		said := answer{Entries: entries}
		if err != nil {
			said.Error = err.Error()
		}
		if err := out.Encode(said); err != nil {
			log.Fatal(err)
		}
	}
}
