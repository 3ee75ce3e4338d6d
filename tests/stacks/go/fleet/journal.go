package fleet

import (
	"bufio"
	"encoding/json"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"
)

// Faulty journals, for tests of the kit. The environment variable JOURNAL has the name.
const (
	unflushed = "unflushed" // entries stay in a buffer of the process, neither written nor synced before the answer
	ackFirst  = "ack-first" // entries are written 2 s after the answer
)

// Journal is a file to which each change is appended, and synced, before its call is answered. It is never compacted.
type Journal struct {
	file   *os.File
	buffer *bufio.Writer
	faulty string
}

// entry has the values of everything that one call may have changed.
type entry struct {
	Machine    *Machine
	Key        markKey
	Mark       *Token
	Operations int
}

// Restore reads the journal in the directory, if there is one, and keeps all further changes in it.
func (fleet *Fleet) Restore(directory string) error {
	file, err := os.OpenFile(filepath.Join(directory, "journal"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	whole := int64(0) // the length without a last entry that a kill cut off: its call was never answered
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		var kept entry
		if err := json.Unmarshal(line, &kept); err != nil {
			return err
		}
		fleet.apply(kept)
		whole += int64(len(line))
	}
	if err := file.Truncate(whole); err != nil {
		return err
	}
	if _, err := file.Seek(whole, io.SeekStart); err != nil {
		return err
	}
	fleet.journal = &Journal{file: file, buffer: bufio.NewWriterSize(file, 1<<20), faulty: os.Getenv("JOURNAL")}
	return nil
}

func (fleet *Fleet) apply(kept entry) {
	if kept.Machine != nil {
		fleet.machines[kept.Machine.ID] = kept.Machine
	}
	if kept.Mark != nil {
		fleet.marks[kept.Key] = *kept.Mark
	}
	fleet.operations = kept.Operations
}

// keep writes what a call may have changed to the journal. It must hold the lock.
func (fleet *Fleet) keep(key markKey) {
	if fleet.journal == nil {
		return
	}
	kept := entry{Machine: fleet.machines[key.Machine], Key: key, Operations: fleet.operations}
	if mark, marked := fleet.marks[key]; marked {
		kept.Mark = &mark
	}
	line, err := json.Marshal(kept)
	if err != nil {
		log.Fatal(err)
	}
	fleet.journal.append(append(line, '\n'))
}

// append ends the process if it fails: the answer of the call would not be true.
func (journal *Journal) append(line []byte) {
	if journal.faulty == ackFirst {
		time.AfterFunc(2*time.Second, func() { journal.write(line) })
		return
	}
	journal.write(line)
}

func (journal *Journal) write(line []byte) {
	if _, err := journal.buffer.Write(line); err != nil {
		log.Fatal(err)
	}
	if journal.faulty == unflushed {
		return
	}
	if err := journal.buffer.Flush(); err != nil {
		log.Fatal(err)
	}
	if err := journal.file.Sync(); err != nil {
		log.Fatal(err)
	}
}
