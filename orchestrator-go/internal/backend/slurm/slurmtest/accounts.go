package slurmtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// startAccounts starts MariaDB and slurmdbd.
func (c *Cluster) startAccounts() error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	if err := c.startDatabase(me.Username); err != nil {
		return err
	}
	// slurmdbd looks for its configuration beside slurm.conf, and wants it for itself.
	text := fmt.Sprintf(accountsConfiguration, me.Username, c.ports[2], c.ports[3], c.Dir)
	if err := os.WriteFile(filepath.Join(c.Dir, "slurmdbd.conf"), []byte(text), 0o600); err != nil {
		return err
	}
	if c.dbd, err = c.spawn("slurmdbd", nil, nil, "-D"); err != nil {
		return err
	}
	if err := c.until("slurmdbd listens", func() bool { return listens(c.ports[2]) }); err != nil {
		return err
	}
	_, err = c.Command("sacctmgr", "--immediate", "add", "cluster", "slurmtest")
	return err
}

func (c *Cluster) startDatabase(username string) error {
	data := filepath.Join(c.Dir, "mariadb")
	install, err := find("mariadb-install-db")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, install, "--no-defaults", "--datadir="+data, "--user="+username, "--skip-test-db",
		"--auth-root-authentication-method=normal").CombinedOutput()
	if err != nil {
		return fmt.Errorf("mariadb-install-db: %w: %s", err, out)
	}
	init := filepath.Join(c.Dir, "init.sql")
	grant := "CREATE DATABASE slurm; GRANT ALL ON slurm.* TO 'slurm'@'%' IDENTIFIED BY 'slurm'; GRANT ALL ON slurm.* TO 'slurm'@'localhost' IDENTIFIED BY 'slurm';"
	if err := os.WriteFile(init, []byte(strings.ReplaceAll(grant, "; ", ";\n")), 0o600); err != nil {
		return err
	}
	// It is thrown away: nothing of it has to survive a power cut.
	c.database, err = c.spawn("mariadbd", nil, nil, "--no-defaults", "--datadir="+data, "--user="+username, "--socket="+filepath.Join(c.Dir, "mariadb.sock"),
		"--bind-address=127.0.0.1", "--port="+strconv.Itoa(c.ports[3]), "--init-file="+init, "--innodb-flush-log-at-trx-commit=0",
		"--innodb-buffer-pool-size=32M", "--skip-name-resolve", "--pid-file="+filepath.Join(c.Dir, "mariadb.pid"))
	if err != nil {
		return err
	}
	return c.until("MariaDB listens", func() bool { return listens(c.ports[3]) })
}

func listens(port int) bool {
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	return err == nil && conn.Close() == nil
}
