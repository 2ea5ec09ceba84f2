//! Which database is current after each text.

use super::super::server::Server;
use super::*;

fn lexis() -> Lexis {
    Lexis { server: Some(Server::read(b"5.5.5-10.11.19-MariaDB")), plain_backslash: false }
}

/// Says which database is the current one, at first `shop`, when the server's results are `results`: `r` has rows, `o`
/// has none.
fn after(text: &str, results: &str) -> String {
    let mut database = Database { current: "shop".to_owned(), ..Database::default() };
    run(text, results, &mut database);
    database.current
}

fn run(text: &str, results: &str, database: &mut Database) {
    let mut progress = Progress::new(Plan::read(text.as_bytes(), lexis(), true));
    for result in results.chars() {
        progress.result(result == 'r', None, database);
    }
}

/// Each text, the results that `MariaDB` 10.11 gives and the database that it has then, by `SELECT DATABASE()`.
#[test]
fn the_database_is_what_the_server_made_it() {
    for (text, results, want) in [
        ("USE depot", "o", "depot"),
        ("use`depot`", "o", "depot"),
        ("USE\n\tdepot ;  ", "o", "depot"),
        ("/* app=jobs */ USE depot", "o", "depot"),
        ("USE depot -- next", "o", "depot"),
        ("use/**/depot", "o", "depot"),
        ("use /* a */ /* b */ depot /* c */ ; ", "o", "depot"),
        ("# c\nuse depot #", "o", "depot"),
        ("use\x0bdepot\0", "o", "depot"),
        ("/*!50000 USE depot*/", "o", "depot"),
        ("/*!50701 USE depot*/", "o", "shop"),
        ("/*M!100100 USE depot*/", "o", "depot"),
        ("/*!999999 USE depot*/ select 1", "r", "shop"),
        ("/*! USE */ `depot`", "o", "depot"),
        ("USE depot; -- next", "oo", "depot"),
        ("USE depot;;select 1", "o", "depot"),
        ("select 1; use depot; select 2; bad; use shop", "ror", "depot"),
        ("use nosuch; use depot", "", "shop"),
        ("select ';', \"; use depot\"; use `depot`; do 1", "roo", "depot"),
        ("call p(); use depot", "rro", "shop"),
        ("call p(); use depot", "rroo", "depot"),
        ("begin not atomic select 1; select 2; end; use depot", "rroo", "depot"),
        ("begin; use depot; commit", "oo", "depot"),
        ("if 1 then select 1; end if; use depot", "roo", "depot"),
        (
            "create or replace procedure p() begin select 1; if 1 then do 1; end if; end; use depot",
            "oo",
            "depot",
        ),
        ("create table t (a int, begin int); use depot", "oo", "depot"),
        ("select case 1 when 1 then 2 end; use depot", "ro", "depot"),
        ("create database gone; use gone; drop database gone", "ooo", ""),
        ("use gone; drop schema if exists `gone`; use depot", "ooo", "depot"),
        ("drop database depot", "o", "shop"),
        ("set statement max_statement_time=1 for use depot", "o", "depot"),
        ("set @use = 1; set names utf8mb4", "oo", "shop"),
        ("execute immediate 'USE depot'", "o", "depot"),
        ("prepare s from 'USE depot'; select 1; execute S", "oro", "depot"),
        ("prepare s from 'USE depot'", "o", "shop"),
        ("prepare s from 'call p()'; execute s; use depot", "orro", "shop"),
        ("prepare s from 'call p()'; execute s; use depot", "orroo", "depot"),
        ("prepare s from 'use depot'; deallocate prepare s; execute s", "ooo", "shop"),
        ("DELIMITER //\nUSE depot //", "", "shop"),
        ("selec 1; use depot", "", "shop"),
        ("use", "o", "shop"),
        ("", "o", "shop"),
        (";", "o", "shop"),
    ] {
        assert_eq!(after(text, results), want, "{text:?} {results}");
    }
}

#[test]
fn what_the_server_says_of_the_database_holds() {
    let mut database = Database::default();
    let mut progress = Progress::new(Plan::read(b"use Depot; select 1", lexis(), true));
    progress.result(false, Some("depot".to_owned()), &mut database);
    assert_eq!(database.current, "depot");
    progress.result(true, Some(String::new()), &mut database);
    assert_eq!(database.current, "");
}

#[test]
fn a_server_that_takes_one_statement_reads_no_second() {
    let plan = Plan::read(b"select 1; use depot", lexis(), false);
    assert_eq!(plan, Plan::default());
    assert_eq!(Plan::read(b"use depot;", lexis(), false), Plan::to_use("depot".to_owned()));
}

#[test]
fn a_backslash_escapes_unless_the_session_says_otherwise() {
    let text = b"select 'a\\'; use depot; -- '";
    let plain = Lexis { plain_backslash: true, ..lexis() };
    assert_eq!(Plan::read(text, lexis(), true), Plan::default());
    assert_eq!(Plan::read(text, plain, true).steps, [(1, Step::Use("depot".to_owned()))]);
}

#[test]
fn plans_and_prepared_statements_are_bounded() {
    let text = "use depot;".repeat(MAX_STEPS + 1);
    assert_eq!(Plan::read(text.as_bytes(), lexis(), true).steps.len(), MAX_STEPS);
    let mut database = Database::default();
    for number in 0..=MAX_PREPARED {
        run(&format!("prepare s{number} from 'use depot'"), "o", &mut database);
    }
    assert_eq!(database.prepared.len(), MAX_PREPARED);
    run("prepare s0 from 'use depot'; execute s0", "oo", &mut database);
    assert_eq!(database.current, "depot");
    database.forget_prepared();
    assert!(database.prepared.is_empty());
}
