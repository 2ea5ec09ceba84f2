//! MariaDB and MySQL servers of the test's own: a private folder, a private port, ended when dropped.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Folder of an unpacked `mysql-server-core` with its libraries.
const MYSQL_ROOT: &str = "KYANOS_TEST_MYSQL_ROOT";

/// Longest wait for a server to take connections.
const START: Duration = Duration::from_mins(1);

/// What the server is told at every start.
const INIT: &str = "CREATE DATABASE IF NOT EXISTS kyanos;
CREATE USER IF NOT EXISTS 'kyanos'@'%' IDENTIFIED BY 'se%cret@';
GRANT ALL ON kyanos.* TO 'kyanos'@'%' WITH GRANT OPTION;
GRANT CREATE USER ON *.* TO 'kyanos'@'%';
CREATE USER IF NOT EXISTS 'plain'@'%' IDENTIFIED BY 'secret';
GRANT ALL ON kyanos.* TO 'plain'@'%';
";

/// A server.
pub(crate) struct Server {
    child: Option<Child>,
    command: Vec<String>,
    folder: tempfile::TempDir,
    port: u16,
}

impl Server {
    /// MariaDB as installed, or why not.
    pub(crate) fn mariadb() -> Result<Self, String> {
        let server = Path::new("/usr/sbin/mariadbd");
        if !server.exists() {
            return Err("MariaDB is not installed".to_owned());
        }
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        run(Command::new("mariadb-install-db").args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            &format!("--datadir={}", data.display()),
        ]));
        let command = vec![server.display().to_string(), "--no-defaults".to_owned()];
        Ok(Self::begin(command, folder, &data))
    }

    /// MySQL as unpacked, or why not.
    pub(crate) fn mysql() -> Result<Self, String> {
        let root = std::env::var_os(MYSQL_ROOT).map(PathBuf::from);
        let root = root.ok_or_else(|| format!("no MySQL: {MYSQL_ROOT} is not set"))?;
        let within = |path: &str| root.join(path).display().to_string();
        let command = vec![
            within("usr/lib64/ld-linux-x86-64.so.2"),
            "--library-path".to_owned(),
            format!("{}:{}", within("usr/lib/x86_64-linux-gnu"), within("usr/lib/mysql/private")),
            within("usr/sbin/mysqld"),
            "--no-defaults".to_owned(),
            format!("--basedir={}", within("usr")),
            "--mysqlx=OFF".to_owned(),
            "--secure-file-priv=NULL".to_owned(),
        ];
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut initialise = Command::new(&command[0]);
        initialise.args(&command[1..]).args([
            "--initialize-insecure",
            "--user=root",
            &format!("--datadir={}", data.display()),
        ]);
        run(&mut initialise);
        Ok(Self::begin(command, folder, &data))
    }

    fn begin(mut command: Vec<String>, folder: tempfile::TempDir, data: &Path) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let init = folder.path().join("init.sql");
        std::fs::File::create(&init).unwrap().write_all(INIT.as_bytes()).unwrap();
        command.extend([
            "--user=root".to_owned(),
            format!("--datadir={}", data.display()),
            format!("--socket={}", folder.path().join("socket").display()),
            format!("--pid-file={}", folder.path().join("pid").display()),
            format!("--port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--skip-name-resolve".to_owned(),
            "--max-allowed-packet=2M".to_owned(),
            "--innodb-buffer-pool-size=32M".to_owned(),
            format!("--init-file={}", init.display()),
        ]);
        let mut server = Self { child: None, command, folder, port };
        server.start();
        server
    }

    /// Starts it and waits until it takes connections.
    pub(crate) fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + START;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// URL of the login that may make logins.
    pub(crate) fn url(&self) -> String {
        // The first host answers nothing: the second is tried.
        format!("mysql://kyanos:se%25cret%40@127.0.0.1:1,127.0.0.1:{}/kyanos", self.port)
    }

    /// URL of a login that may not.
    pub(crate) fn plain_url(&self) -> String {
        format!("mysql://plain:secret@127.0.0.1:{}/kyanos", self.port)
    }

    /// URL of that login through the server's socket.
    pub(crate) fn socket_url(&self) -> String {
        format!(
            "mysql://plain:secret@localhost/kyanos?socket={}",
            self.folder.path().join("socket").display()
        )
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
