//! Statements of both dialects and what must not appear of them.

use super::{Dialect, command, line, redact, redact_value};

fn redacted(statement: &str, dialect: Dialect) -> String {
    String::from_utf8(redact(statement.as_bytes(), dialect).text.into_owned()).unwrap()
}

#[test]
fn secrets_of_mysql_are_replaced() {
    for (statement, want) in [
        (
            "CREATE USER 'a'@'%' IDENTIFIED BY 'x''y\\'z', b IDENTIFIED BY \"q\" REQUIRE NONE",
            "CREATE USER 'a'@'%' IDENTIFIED BY '[redacted]', b IDENTIFIED BY \"[redacted]\" REQUIRE NONE",
        ),
        (
            "ALTER USER a IDENTIFIED WITH p BY 'x' REPLACE 'old'",
            "ALTER USER a IDENTIFIED WITH p BY '[redacted]' REPLACE '[redacted]'",
        ),
        ("ALTER USER a IDENTIFIED BY PASSWORD '*AB'", "ALTER USER a IDENTIFIED BY PASSWORD '[redacted]'"),
        (
            "ALTER USER a IDENTIFIED VIA p USING PASSWORD('x')",
            "ALTER USER a IDENTIFIED VIA p USING PASSWORD('[redacted]')",
        ),
        (
            "SET PASSWORD FOR 'bob'@'%' = 'x'; SELECT 'y' = 'z'",
            "SET PASSWORD FOR 'bob'@'%' = '[redacted]'; SELECT 'y' = 'z'",
        ),
        ("SET PASSWORD = PASSWORD ( 'x' )", "SET PASSWORD = PASSWORD ( '[redacted]' )"),
        (
            "CHANGE MASTER TO MASTER_USER='u', MASTER_PASSWORD='x'",
            "CHANGE MASTER TO MASTER_USER='u', MASTER_PASSWORD='[redacted]'",
        ),
        (
            "/*!50000 CREATE USER a IDENTIFIED BY 'x' */",
            "/*!50000 CREATE USER a IDENTIFIED BY '[redacted]' */",
        ),
        (
            "create user a identified /* by 'c' */ by 'cut",
            "create user a identified /* by 'c' */ by '[redacted]'",
        ),
        (
            "SELECT 'IDENTIFIED BY' AS a, \"PASSWORD('x')\" FROM t ORDER BY 'x'",
            "SELECT 'IDENTIFIED BY' AS a, \"PASSWORD('x')\" FROM t ORDER BY 'x'",
        ),
    ] {
        assert_eq!(redacted(statement, Dialect::Mysql), want);
    }
    assert!(redact(b"CREATE USER a IDENTIFIED BY ?", Dialect::Mysql).parameters.contains(0));
    assert!(!redact(b"SELECT ?", Dialect::Mysql).parameters.contains(0));
}

#[test]
fn secrets_of_postgres_are_replaced() {
    for (statement, want) in [
        (
            "CREATE ROLE a LOGIN PASSWORD 'a\\' VALID UNTIL 'x'",
            "CREATE ROLE a LOGIN PASSWORD '[redacted]' VALID UNTIL 'x'",
        ),
        (
            "ALTER ROLE a ENCRYPTED PASSWORD E'a\\'b' LOGIN",
            "ALTER ROLE a ENCRYPTED PASSWORD E'[redacted]' LOGIN",
        ),
        ("ALTER ROLE a PASSWORD $t$it's$t$ LOGIN", "ALTER ROLE a PASSWORD $t$[redacted]$t$ LOGIN"),
        ("SELECT 'it' || \"PASSWORD\" || 'x'", "SELECT 'it' || \"PASSWORD\" || 'x'"),
    ] {
        assert_eq!(redacted(statement, Dialect::Postgres), want);
    }
    assert!(redact(b"ALTER ROLE a PASSWORD $1", Dialect::Postgres).parameters.contains(0));
}

#[test]
fn commands_and_lines() {
    assert_eq!(command(b" -- note\n/* x */ (select 1)", Dialect::Postgres), "SELECT");
    assert_eq!(command(b"", Dialect::Mysql), "");
    assert_eq!(line(b" SELECT\n\t 1 ,  '\xff' "), "SELECT 1 , '\u{fffd}'");
    assert!(line(&[b'x'; 5000]).len() <= super::LINE_BYTES);
}

/// A statement, and what must remain readable of it. Each secret begins with `hush`.
type Row = (&'static str, &'static [&'static str]);

/// What the manuals of `MySQL` 8.4 and 9 and of `MariaDB` say where passwords, keys and connections stand.
const MYSQL: &[Row] = &[
    // CREATE USER, ALTER USER, GRANT, SET PASSWORD
    (
        "CREATE USER 'a'@'%' IDENTIFIED BY 'hush' PASSWORD EXPIRE INTERVAL 9 DAY COMMENT 'c'",
        &["'a'@'%'", "COMMENT 'c'"],
    ),
    ("CREATE USER a IDENTIFIED WITH 'caching_sha2_password' BY 'hush'", &["'caching_sha2_password'"]),
    ("CREATE USER a IDENTIFIED WITH caching_sha2_password AS 'hush' REQUIRE SUBJECT '/CN=x'", &["'/CN=x'"]),
    ("CREATE USER a IDENTIFIED WITH sha256_password AS 0x68757368", &["CREATE USER a"]),
    (
        "CREATE USER a IDENTIFIED BY 'hush1' AND IDENTIFIED WITH ldap BY 'hush2' ACCOUNT LOCK",
        &["ACCOUNT LOCK"],
    ),
    (
        "CREATE USER a IDENTIFIED WITH fido INITIAL AUTHENTICATION IDENTIFIED BY 'hush'",
        &["WITH fido INITIAL"],
    ),
    ("ALTER USER a 2 FACTOR FINISH REGISTRATION SET CHALLENGE_RESPONSE AS 'hush'", &["2 FACTOR FINISH"]),
    (
        "ALTER USER a IDENTIFIED BY 'hush1' REPLACE 'hush2' RETAIN CURRENT PASSWORD, 'b'@'h' ACCOUNT LOCK",
        &["'b'@'h'"],
    ),
    ("ALTER USER IF EXISTS CURRENT_USER() IDENTIFIED BY 'hush'", &["CURRENT_USER()"]),
    ("ALTER USER a IDENTIFED BY 'hush'", &["IDENTIFED BY"]),
    ("CREATE USER a IDENTIFIED BY PASSWORD '*hush'", &["BY PASSWORD"]),
    (
        "CREATE USER a IDENTIFIED VIA ed25519 USING 'hush1' OR mysql_native_password USING PASSWORD('hush2')",
        &["ed25519"],
    ),
    ("CREATE OR REPLACE USER a@'h' IDENTIFIED VIA pam AS 'hush'", &["a@'h'"]),
    ("GRANT SELECT (password) ON d.t TO 'a'@'h' IDENTIFIED BY 'hush' WITH GRANT OPTION", &["TO 'a'@'h'"]),
    ("GRANT ALL ON *.* TO a IDENTIFIED BY PASSWORD 'hush'", &["TO a"]),
    ("SET PASSWORD FOR 'a'@'h' = 'hush1' REPLACE 'hush2'", &["FOR 'a'@'h'"]),
    ("SET PASSWORD = PASSWORD('hush')", &["PASSWORD("]),
    ("SET PASSWORD FOR a = OLD_PASSWORD(CONCAT('hush1', \"hush2\"))", &["OLD_PASSWORD(CONCAT("]),
    (
        "CLONE INSTANCE FROM 'u'@'h':3306 IDENTIFIED BY 'hush' DATA DIRECTORY = '/d'",
        &["'u'@'h':3306", "'/d'"],
    ),
    (
        "UPDATE mysql.user SET authentication_string = PASSWORD('hush'), host = 'h' WHERE user = 'u'",
        &["'h'", "'u'"],
    ),
    (
        "INSERT INTO mysql.user (host, user, authentication_string, ssl_type) VALUES ('h','u','hush','t')",
        &["('h','u','", "','t')"],
    ),
    // Replication
    (
        "CHANGE MASTER 'm' TO MASTER_HOST='h', MASTER_PASSWORD='hush', MASTER_SSL_KEY='/k'",
        &["'h'", "'/k'", "'m'"],
    ),
    (
        "CHANGE REPLICATION SOURCE TO SOURCE_USER='u', SOURCE_PASSWORD = 'hush' FOR CHANNEL 'c'",
        &["'u'", "'c'"],
    ),
    ("START REPLICA USER='u' PASSWORD='hush' DEFAULT_AUTH='p' FOR CHANNEL 'c'", &["'u'", "'p'", "'c'"]),
    ("START SLAVE USER='u' PASSWORD='hush'", &["'u'"]),
    ("START GROUP_REPLICATION USER='u', PASSWORD='hush'", &["'u'"]),
    // Federated servers and engines
    (
        "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (USER 'u', HOST 'h', PASSWORD 'hush', PORT 3)",
        &["'u'", "'h'"],
    ),
    ("ALTER SERVER s OPTIONS (PASSWORD 'hush', USER 'u')", &["'u'"]),
    (
        "CREATE TABLE t (id INT) ENGINE=FEDERATED CONNECTION='mysql://u:hush@h:3306/d/t'",
        &["mysql://", "@h:3306/d/t"],
    ),
    ("CREATE TABLE t (id INT) ENGINE=FEDERATED CONNECTION='mysql://u:hu/sh@h/d/t'", &["@h/d/t"]),
    ("CREATE TABLE t ENGINE=FEDERATED CONNECTION='server/table'", &["'server/table'"]),
    (
        "CREATE TABLE t ENGINE=CONNECT OPTION_LIST='host=h,user=u,password=hush,port=1' TABNAME='x'",
        &["host=h", "port=1"],
    ),
    ("CREATE TABLE t ENGINE=CONNECT CONNECTION='DSN=d;UID=u;PWD=hush;'", &["DSN=d;UID=u"]),
    (
        "CREATE TABLE t ENGINE=SPIDER COMMENT='wrapper \"mysql\", host \"h\", password \"hush\", port \"1\"'",
        &["\"h\"", "\"1\""],
    ),
    // Functions
    ("SELECT AES_ENCRYPT('hush1', 'hush2'), 'x'", &["AES_ENCRYPT(", ", 'x'"]),
    ("SELECT AES_DECRYPT(c, UNHEX(SHA2('hush', 512))) FROM t WHERE d = 'x'", &["FROM t WHERE d = 'x'"]),
    ("SELECT DES_ENCRYPT('hush1', 'hush2'), ENCODE('hush3', 'hush4'), ENCRYPT('hush5')", &["DES_ENCRYPT("]),
    (
        "SELECT PASSWORD ('hush'), OLD_PASSWORD(_utf8'hush'), VALIDATE_PASSWORD_STRENGTH('hush')",
        &["PASSWORD ("],
    ),
    ("SELECT keyring_key_store('id', 'AES', 'hush')", &["keyring_key_store("]),
    // Values by their names
    ("UPDATE users SET `password` = MD5('hush'), name = 'bob' WHERE id = '7'", &["name = 'bob'", "id = '7'"]),
    (
        "SELECT * FROM users WHERE name = 'bob' AND passwd IN ('hush1', 'hush2') LIMIT 1",
        &["'bob'", "LIMIT 1"],
    ),
    ("SELECT * FROM t WHERE api_token <> 'hush' AND `key` = 'k'", &["`key` = 'k'"]),
    (
        "INSERT INTO users (name, password, mail) VALUES ('a', 'hush1', 'm'), ('b', SHA2('hush2', 256), 'n')",
        &["'a'", "'m'", "'b'", "'n'"],
    ),
    ("REPLACE INTO users (`pwd`, `name`) VALUES ('hush', 'a')", &["'a'"]),
    ("INSERT INTO t VALUES ('{\"user\": \"u\", \"password\": \"hush\", \"n\": 1}')", &["\"u\"", "\"n\": 1"]),
    ("SELECT JSON_SET(d, '$.password', 'hush', '$.name', 'bob')", &["'$.name', 'bob'"]),
    ("SET GLOBAL authentication_ldap_simple_bind_root_pwd = 'hush'", &["bind_root_pwd"]),
    ("SET GLOBAL wsrep_sst_auth = 'sst:hush'", &["wsrep_sst_auth"]),
    ("SET @@global.wsrep_sst_auth='sst:hush'", &["wsrep_sst_auth"]),
    ("UPDATE t SET \"password\" = 'hush'", &["\"password\""]),
    // Statements inside literals
    ("PREPARE s FROM 'CREATE USER a IDENTIFIED BY ''hush'''", &["CREATE USER a IDENTIFIED BY"]),
    ("PREPARE s FROM \"CREATE USER a IDENTIFIED BY 'hush'\"", &["CREATE USER a"]),
    ("PREPARE s FROM 'CREATE USER a IDENTIFIED BY \\'hush\\''", &["CREATE USER a"]),
    ("SET @s = CONCAT('CREATE USER ''', u, ''' IDENTIFIED BY ''', 'hush', '''')", &["IDENTIFIED BY"]),
    ("EXECUTE IMMEDIATE 'ALTER USER a IDENTIFIED BY ?' USING 'hush'", &["ALTER USER a"]),
    ("EXECUTE IMMEDIATE CONCAT('SET PASSWORD FOR a = ', QUOTE('hush'))", &["FOR a ="]),
    ("SET @s = 0x414c54455220555345522061204944454e54494649454420425920276875736827", &["SET @s"]),
    ("CREATE PROCEDURE p() BEGIN CREATE USER a IDENTIFIED BY 'hush'; SELECT 'x'; END", &["SELECT 'x'"]),
    ("CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO ALTER USER a IDENTIFIED BY 'hush'", &["EVERY 1 DAY"]),
    ("INSERT INTO jobs VALUES (1, 'ALTER USER a IDENTIFIED BY ''hush''')", &["ALTER USER a"]),
    // Literals and comments
    ("CREATE USER a IDENTIFIED BY 'x''hush'", &["CREATE USER a"]),
    ("CREATE USER a IDENTIFIED BY 'x\\'hush'", &["CREATE USER a"]),
    ("CREATE USER a IDENTIFIED BY 'x' /* c */ 'hush1'\n\"hush2\" ACCOUNT LOCK", &["ACCOUNT LOCK"]),
    ("CREATE USER a IDENTIFIED BY 'x\\', b IDENTIFIED BY 'hush'", &["CREATE USER a"]),
    ("CREATE USER a IDENTIFIED BY \"hu'sh\" ACCOUNT LOCK", &["ACCOUNT LOCK"]),
    ("/*!80000 CREATE USER a */ /*!50701 IDENTIFIED BY 'hush' */", &["CREATE USER a"]),
    ("/*M!100100 SET PASSWORD = 'hush' */", &["SET PASSWORD"]),
    ("/*!99999 it's */ CREATE USER a IDENTIFIED BY 'hush'", &["CREATE USER a"]),
    ("SELECT 5--1, 'a' AS x; SET PASSWORD = 'hush'", &["5--1, 'a'"]),
    ("SET -- it's a comment\n PASSWORD = # it's\n 'hush'", &["SET"]),
    ("SELECT 2 */* it's */ 3; SET PASSWORD = 'hush'", &["SELECT 2"]),
    ("SET PASSWORD = N'hush'", &["SET PASSWORD"]),
    ("SELECT AES_ENCRYPT(_latin1 'hush1', X'68757368', 0x68757368)", &["AES_ENCRYPT("]),
    // What is cut off
    ("CREATE USER a IDENTIFIED BY 'hush", &["CREATE USER a"]),
    ("PREPARE s FROM 'CREATE USER a IDENTIFIED BY ''hush", &["CREATE USER a"]),
    ("CREATE TABLE t ENGINE=FEDERATED CONNECTION='mysql://u:hush", &["mysql://"]),
];

/// What the manuals of `PostgreSQL` 17 and of what speaks its protocol say.
const POSTGRES: &[Row] = &[
    // Roles
    ("CREATE ROLE a LOGIN PASSWORD 'hush' VALID UNTIL '2030-01-01'", &["'2030-01-01'"]),
    ("ALTER USER \"a\" WITH ENCRYPTED PASSWORD 'hush' IN ROLE b", &["IN ROLE b"]),
    ("CREATE GROUP g WITH UNENCRYPTED PASSWORD 'hush'", &["GROUP g"]),
    ("ALTER ROLE a PASSWORD NULL; SELECT 'x'", &["'x'"]),
    ("CREATE ROLE a PASWORD 'hush' VALID UNTIL '2030-01-01'", &["PASWORD", "'2030-01-01'"]),
    ("ALTER ROLE a SET search_path TO 'x'", &["TO 'x'"]),
    ("ALTER ROLE a SET app.password TO 'hush'", &["app.password TO"]),
    ("SET SESSION AUTHORIZATION 'bob'", &["'bob'"]),
    ("SET password_encryption = 'scram-sha-256'", &["'scram-sha-256'"]),
    ("ALTER SYSTEM SET primary_conninfo = 'host=h user=u password=hush'", &["host=h user=u"]),
    ("ALTER SYSTEM SET ssl_passphrase_command = 'echo hush'", &["ssl_passphrase_command"]),
    ("ALTER SYSTEM SET ssl_passphrase_command TO 'echo hush'", &["ssl_passphrase_command"]),
    (
        "SELECT set_config('app.secret', 'hush', false), set_config('search_path', 'public', false)",
        &["'public'"],
    ),
    // Subscriptions and foreign servers
    (
        "CREATE SUBSCRIPTION s CONNECTION 'host=h port=1 user=u password=hush dbname=d' PUBLICATION p",
        &["host=h", "dbname=d", "PUBLICATION p"],
    ),
    ("CREATE SUBSCRIPTION s CONNECTION 'password = hush host = h' PUBLICATION p", &["host = h"]),
    ("CREATE SUBSCRIPTION s CONNECTION 'password=''hu sh'' host=h' PUBLICATION p", &["host=h"]),
    ("CREATE SUBSCRIPTION s CONNECTION 'password=''hu\\''sh'' host=h'", &["host=h"]),
    ("CREATE SUBSCRIPTION s CONNECTION 'password=x\\ hush;hush,hush host=h sslpassword=hush'", &["host=h"]),
    ("CREATE SUBSCRIPTION s CONNECTION 'host=h password=a hush'", &["host=h"]),
    ("CREATE SUBSCRIPTION s CONNECTION 'password='''' host=h'", &["host=h"]),
    (
        "ALTER SUBSCRIPTION s CONNECTION 'postgresql://u:hush@h1,h2:5433/d?sslmode=require'",
        &["@h1,h2:5433/d?sslmode=require"],
    ),
    (
        "ALTER SUBSCRIPTION s CONNECTION 'postgresql://h/d?user=u&password=hush&sslmode=allow'",
        &["user=u", "sslmode=allow"],
    ),
    ("ALTER SUBSCRIPTION s CONNECTION 'postgresql://h/d?pass%77ord=hush'", &["postgresql://h/d"]),
    ("ALTER SUBSCRIPTION s CONNECTION E'password=\\'hush\\'' || ' host=h'", &["host=h"]),
    (
        "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'h', dbname 'd', password 'hush')",
        &["'h'", "'d'"],
    ),
    (
        "CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (\"user\" 'u', \"password\" 'hush', password_required 'false')",
        &["'u'", "'false'"],
    ),
    (
        "ALTER USER MAPPING FOR u SERVER s OPTIONS (ADD user 'u', SET password 'hush', sslcert '/c')",
        &["'u'", "'/c'"],
    ),
    ("CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (aws_secret_access_key 'hush', region 'r')", &["'r'"]),
    ("SELECT * FROM dblink('host=h password=hush', 'SELECT 1') AS t(a int)", &["host=h", "'SELECT 1'"]),
    ("SELECT dblink_connect('c', 'postgres://u:hush@h/d')", &["'c'", "@h/d"]),
    ("SELECT dblink_exec('c', 'ALTER ROLE a PASSWORD ''hush''')", &["ALTER ROLE a"]),
    // pgcrypto and what is like it
    ("SELECT crypt('hush', gen_salt('bf', 8)), 'x'", &["gen_salt('bf', 8)", "'x'"]),
    ("SELECT pgp_sym_encrypt('hush1', 'hush2', 'cipher-algo=aes256')", &["pgp_sym_encrypt("]),
    ("SELECT pgp_sym_decrypt(c, 'hush') FROM t WHERE id = 'i'", &["id = 'i'"]),
    ("SELECT pgp_pub_decrypt(m, dearmor('hush1'), 'hush2')", &["pgp_pub_decrypt("]),
    ("SELECT encrypt('hush1'::bytea, 'hush2', 'aes'), hmac('d', 'hush3', 'sha256')", &["encrypt("]),
    ("SELECT vault.create_secret('hush', 'name')", &["vault.create_secret("]),
    ("SELECT add_data_node('dn', host => 'h', password => 'hush')", &["'dn'", "'h'"]),
    ("SELECT encode(b, 'base64'), digest('d', 'sha256') FROM t", &["'base64'", "'d', 'sha256'"]),
    // Values by their names
    ("UPDATE users SET \"password\" = 'hush', name = 'bob'", &["'bob'"]),
    ("INSERT INTO users (\"name\", \"password\") VALUES ('a', crypt('hush', gen_salt('bf')))", &["'a'"]),
    ("SELECT 1 FROM t WHERE doc->>'password' = 'hush' AND doc->>'name' = 'bob'", &["'bob'"]),
    ("SELECT jsonb_build_object('name', 'bob', 'password', 'hush')", &["'bob'"]),
    // Programs, clouds
    ("COPY t FROM PROGRAM 'curl -s -u u:hush https://h/f'", &["curl -s", "https://h/f"]),
    ("COPY t TO PROGRAM 'PGPASSWORD=hush psql -h h'", &["psql -h h"]),
    ("COPY t FROM PROGRAM 'curl -H \"Authorization: Bearer hush\" https://h/f'", &["https://h/f"]),
    ("COPY t TO PROGRAM 'mysql --password=hush -h h d'", &["-h h d"]),
    (
        "COPY t FROM 's3://b/k' CREDENTIALS 'aws_access_key_id=I;aws_secret_access_key=hush1;token=hush2' CSV",
        &["aws_access_key_id=I", "CSV"],
    ),
    ("COPY t FROM 's3://b/k' WITH CREDENTIALS AS 'aws_iam_role=arn:aws:iam::1:role/r'", &["role/r"]),
    (
        "COPY t FROM 's3://b/k' ACCESS_KEY_ID 'I' SECRET_ACCESS_KEY 'hush1' SESSION_TOKEN 'hush2' REGION 'r'",
        &["'I'", "'r'"],
    ),
    ("UNLOAD ('SELECT 1') TO 's3://b/k' MASTER_SYMMETRIC_KEY 'hush' ENCRYPTED", &["'SELECT 1'", "ENCRYPTED"]),
    (
        "BACKUP INTO 's3://b/p?AWS_ACCESS_KEY_ID=I&AWS_SECRET_ACCESS_KEY=hush' WITH encryption_passphrase = 'hush'",
        &["AWS_ACCESS_KEY_ID=I"],
    ),
    ("BACKUP INTO 'gs://b/p?AUTH=specified&CREDENTIALS=hush'", &["AUTH=specified"]),
    (
        "CREATE CHANGEFEED FOR t INTO 'kafka://h:9092?sasl_user=u&sasl_password=hush' WITH webhook_auth_header = 'Basic hush'",
        &["sasl_user=u"],
    ),
    ("CREATE EXTERNAL CONNECTION c AS 'postgres://u:hush@h/d'", &["@h/d"]),
    // Statements inside literals
    ("DO $$ BEGIN EXECUTE 'ALTER ROLE a PASSWORD ''hush'''; END $$", &["ALTER ROLE a", "END"]),
    ("DO $a$ BEGIN EXECUTE $b$ALTER ROLE a PASSWORD $c$hush$c$$b$; END $a$", &["ALTER ROLE a", "END"]),
    ("DO LANGUAGE plpgsql 'BEGIN ALTER ROLE a PASSWORD ''hush''; END'", &["ALTER ROLE a"]),
    (
        "CREATE FUNCTION f() RETURNS void AS $$ BEGIN EXECUTE 'ALTER ROLE ' || quote_ident(u) || ' PASSWORD ' || quote_literal('hush'); END $$ LANGUAGE plpgsql",
        &["quote_ident(u)", "LANGUAGE plpgsql"],
    ),
    (
        "DO $$ BEGIN EXECUTE 'ALTER ROLE a PASSWORD ''' || 'hush' || ''''; PERFORM 'x'; END $$",
        &["PERFORM 'x'"],
    ),
    ("DO $$ BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', u, 'hush'); END $$", &["ALTER ROLE %I"]),
    ("DO $$ BEGIN EXECUTE 'SELECT crypt($1, $2)' USING 'hush', s; END $$", &["SELECT crypt("]),
    ("SELECT cron.schedule('j', '* * * * *', $$ALTER ROLE a PASSWORD 'hush'$$)", &["'j'", "ALTER ROLE a"]),
    ("EXECUTE E'ALTER ROLE a \\160ASSWORD \\'hush\\''", &["ALTER ROLE a"]),
    ("DO U&'BEGIN ALTER ROLE a !0050ASSWORD ''hush''; END' UESCAPE '!'", &["UESCAPE '!'"]),
    // Literals and comments
    ("ALTER ROLE a PASSWORD E'x\\'hush' LOGIN", &["LOGIN"]),
    ("ALTER ROLE a PASSWORD E'x'\n'\\'hush' LOGIN", &["LOGIN"]),
    ("ALTER ROLE a PASSWORD U&'x!hush' UESCAPE '!' LOGIN", &["LOGIN"]),
    ("ALTER ROLE a PASSWORD 'x' -- it's\n 'hush' LOGIN", &["LOGIN"]),
    ("ALTER ROLE a PASSWORD $t$x'$$hush$t$ LOGIN", &["LOGIN"]),
    ("ALTER /* a /* b */ it's */ ROLE a PASSWORD 'hush' LOGIN", &["LOGIN"]),
    ("ALTER ROLE \"it's\" PASSWORD 'hush' LOGIN", &["\"it's\"", "LOGIN"]),
    ("ALTER ROLE a PASSWORD 'x\\' LOGIN; ALTER ROLE b PASSWORD 'hush'", &["LOGIN", "ROLE b"]),
    ("ALTER ROLE a PASSWORD 'x\\'hush' LOGIN", &["LOGIN"]),
    ("SELECT a #> '{x}', 'it' FROM t; ALTER ROLE a PASSWORD 'hush'", &["'it' FROM t"]),
    // What is cut off
    ("ALTER ROLE a PASSWORD 'hush", &["ROLE a"]),
    ("ALTER ROLE a PASSWORD $t$hush$t", &["ROLE a"]),
    ("DO $$ BEGIN ALTER ROLE a PASSWORD 'hush", &["ROLE a"]),
    ("CREATE SUBSCRIPTION s CONNECTION 'host=h password=hush", &["host=h"]),
    ("CREATE SUBSCRIPTION s CONNECTION 'postgres://u:hush", &["postgres://"]),
];

#[test]
fn secrets_do_not_come_out_and_everything_else_does() {
    let mut failed = Vec::new();
    for (dialect, rows) in [(Dialect::Mysql, MYSQL), (Dialect::Postgres, POSTGRES)] {
        for (statement, remains) in rows {
            let shown = redacted(statement, dialect);
            let out =
                ["hush", "hu'sh", "hu/sh", "hu sh", "68757368"].iter().any(|secret| shown.contains(secret));
            if out
                || !remains.iter().all(|part| shown.contains(part))
                || shown.matches("[redacted]").count() > 6
            {
                failed.push(format!("{statement}\n  {shown}"));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn what_a_server_quotes_of_a_statement_is_hidden_too() {
    let statement = "CREATE USER a IDENTIFIED BY 'hush1''x', b IDENTIFIED BY 'z'";
    let secrets = redact(statement.as_bytes(), Dialect::Mysql).secrets;
    for (message, shown) in [
        ("near ''hush1''x', b' at line 1", "near ''[redacted]', b' at line 1"),
        ("near \"hush1'x\"", "near \"[redacted]\""),
        // A server quotes so many bytes only.
        ("near ''hush1' at line 1", "near ''[redacted]' at line 1"),
        // One letter is a secret where it stands alone.
        ("near 'z' of zones", "near '[redacted]' of zones"),
        ("nothing of it", "nothing of it"),
    ] {
        let mut message = message.as_bytes().to_vec();
        secrets.hide(&mut message);
        assert_eq!(String::from_utf8(message).unwrap(), shown);
    }
}

#[test]
fn values_and_messages_hide_what_looks_like_a_secret() {
    for (value, shown) in [
        ("postgres://u:p@h/d", "postgres://[redacted]@h/d"),
        ("host=h password=p dbname=d", "host=h password=[redacted] dbname=d"),
        ("ALTER ROLE a PASSWORD 'p' LOGIN", "ALTER ROLE a PASSWORD '[redacted]' LOGIN"),
        ("the password is wrong", "the password is wrong"),
        ("https://h/a?b=c", "https://h/a?b=c"),
    ] {
        assert_eq!(redact_value(value.as_bytes(), Dialect::Postgres), value_of(shown));
    }
}

fn value_of(text: &str) -> std::borrow::Cow<'_, [u8]> {
    text.as_bytes().into()
}

#[test]
fn placeholders_of_secrets_are_known_by_their_number() {
    for (statement, dialect, secret) in [
        ("SELECT crypt($2, gen_salt('bf')), $1, $3", Dialect::Postgres, [false, true, false]),
        ("INSERT INTO users (a, password, b) VALUES ($1, $2, $3)", Dialect::Postgres, [false, true, false]),
        ("SELECT pgp_sym_encrypt($1, $2), $3", Dialect::Postgres, [true, true, false]),
        ("UPDATE users SET a = ?, password = ? WHERE b = ?", Dialect::Mysql, [false, true, false]),
        ("SELECT ?, AES_ENCRYPT(?, ?)", Dialect::Mysql, [false, true, true]),
        ("INSERT INTO users (token, a, b) VALUES (SHA2(?, 256), ?, ?)", Dialect::Mysql, [true, false, false]),
    ] {
        let parameters = redact(statement.as_bytes(), dialect).parameters;
        assert_eq!([0, 1, 2].map(|index| parameters.contains(index)), secret, "{statement}");
    }
}

#[test]
fn statements_inside_one_another_end_at_a_depth() {
    let mut statement = "ALTER ROLE a PASSWORD 'hush'".to_owned();
    for depth in 0..10 {
        let shown = redacted(&statement, Dialect::Postgres);
        assert!(!shown.contains("hush"), "{shown}");
        assert_eq!(shown.contains("ROLE a"), depth <= 6, "{depth}: {shown}");
        statement = format!("DO $t{depth}$ {statement} $t{depth}$");
    }
}

/// Returns how long this thread has run on a processor, which says nothing of what else the machine does.
fn ran_ns() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    told.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn work_grows_no_faster_than_a_statement() {
    const TIMES: usize = 16;
    for part in
        ["://a", "password=", "pwd={", "pwd='", "'", "/*", "$a$", "U&'", "('password',", "x=", "||''", "E'\\"]
    {
        let work = |length: usize| {
            let statement = part.repeat(length / part.len());
            let begin = ran_ns();
            for dialect in [Dialect::Mysql, Dialect::Postgres] {
                redact(statement.as_bytes(), dialect);
                redact(format!("DO '{statement}").as_bytes(), dialect);
            }
            // The kernel counts by its ticks.
            (ran_ns() - begin).max(4_000_000)
        };
        let (short, long) = (work(16 * 1024), work(TIMES * 16 * 1024));
        // Were each part compared with all others, it would be the square: 256 times.
        assert!(long / short < 4 * TIMES as u64, "{part}: {short} ns, {TIMES} times as long: {long} ns");
    }
}
