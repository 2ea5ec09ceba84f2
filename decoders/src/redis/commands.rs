//! What the decoder knows of single Redis commands: where their keys are and which of their words are secrets.

/// Positions of the keys among the words of a command (word 0 is the name): first, last (negative counts from the
/// end), step. Taken from `COMMAND` of Redis 7.0; commands with one key at word 1 are not listed but in [`SINGLE`].
const RANGES: &[(&[u8], i32, i32, i32)] = &[
    (b"RENAME", 1, 2, 1),
    (b"RENAMENX", 1, 2, 1),
    (b"GEOSEARCHSTORE", 1, 2, 1),
    (b"LCS", 1, 2, 1),
    (b"ZRANGESTORE", 1, 2, 1),
    (b"RPOPLPUSH", 1, 2, 1),
    (b"LMOVE", 1, 2, 1),
    (b"BLMOVE", 1, 2, 1),
    (b"BRPOPLPUSH", 1, 2, 1),
    (b"SMOVE", 1, 2, 1),
    (b"COPY", 1, 2, 1),
    (b"UNLINK", 1, -1, 1),
    (b"WATCH", 1, -1, 1),
    (b"EXISTS", 1, -1, 1),
    (b"DEL", 1, -1, 1),
    (b"TOUCH", 1, -1, 1),
    (b"MGET", 1, -1, 1),
    (b"SDIFF", 1, -1, 1),
    (b"SDIFFSTORE", 1, -1, 1),
    (b"SINTER", 1, -1, 1),
    (b"SINTERSTORE", 1, -1, 1),
    (b"SUNION", 1, -1, 1),
    (b"SUNIONSTORE", 1, -1, 1),
    (b"PFCOUNT", 1, -1, 1),
    (b"PFMERGE", 1, -1, 1),
    (b"BZPOPMIN", 1, -2, 1),
    (b"BZPOPMAX", 1, -2, 1),
    (b"BLPOP", 1, -2, 1),
    (b"BRPOP", 1, -2, 1),
    (b"MSET", 1, -1, 2),
    (b"MSETNX", 1, -1, 2),
    (b"BITOP", 2, -1, 1),
    (b"MIGRATE", 3, 3, 1),
    (b"XGROUP", 2, 2, 1),
    (b"XINFO", 2, 2, 1),
    (b"OBJECT", 2, 2, 1),
];

/// Commands whose one key is word 1.
const SINGLE: &[&[u8]] = &[
    b"APPEND",
    b"BITCOUNT",
    b"BITFIELD",
    b"BITFIELD_RO",
    b"BITPOS",
    b"DECR",
    b"DECRBY",
    b"DUMP",
    b"EXPIRE",
    b"EXPIREAT",
    b"EXPIRETIME",
    b"GEOADD",
    b"GEODIST",
    b"GEOHASH",
    b"GEOPOS",
    b"GEORADIUS",
    b"GEORADIUSBYMEMBER",
    b"GEORADIUSBYMEMBER_RO",
    b"GEORADIUS_RO",
    b"GEOSEARCH",
    b"GET",
    b"GETBIT",
    b"GETDEL",
    b"GETEX",
    b"GETRANGE",
    b"GETSET",
    b"HDEL",
    b"HEXISTS",
    b"HEXPIRE",
    b"HGET",
    b"HGETALL",
    b"HINCRBY",
    b"HINCRBYFLOAT",
    b"HKEYS",
    b"HLEN",
    b"HMGET",
    b"HMSET",
    b"HPERSIST",
    b"HPEXPIRE",
    b"HPTTL",
    b"HRANDFIELD",
    b"HSCAN",
    b"HSET",
    b"HSETNX",
    b"HSTRLEN",
    b"HTTL",
    b"HVALS",
    b"INCR",
    b"INCRBY",
    b"INCRBYFLOAT",
    b"LINDEX",
    b"LINSERT",
    b"LLEN",
    b"LPOP",
    b"LPOS",
    b"LPUSH",
    b"LPUSHX",
    b"LRANGE",
    b"LREM",
    b"LSET",
    b"LTRIM",
    b"MOVE",
    b"PERSIST",
    b"PEXPIRE",
    b"PEXPIREAT",
    b"PEXPIRETIME",
    b"PFADD",
    b"PSETEX",
    b"PTTL",
    b"RESTORE",
    b"RPOP",
    b"RPUSH",
    b"RPUSHX",
    b"SADD",
    b"SCARD",
    b"SET",
    b"SETBIT",
    b"SETEX",
    b"SETNX",
    b"SETRANGE",
    b"SISMEMBER",
    b"SMEMBERS",
    b"SMISMEMBER",
    b"SORT",
    b"SORT_RO",
    b"SPOP",
    b"SRANDMEMBER",
    b"SREM",
    b"SSCAN",
    b"STRLEN",
    b"SUBSTR",
    b"TTL",
    b"TYPE",
    b"XACK",
    b"XADD",
    b"XAUTOCLAIM",
    b"XCLAIM",
    b"XDEL",
    b"XLEN",
    b"XPENDING",
    b"XRANGE",
    b"XREVRANGE",
    b"XSETID",
    b"XTRIM",
    b"ZADD",
    b"ZCARD",
    b"ZCOUNT",
    b"ZINCRBY",
    b"ZLEXCOUNT",
    b"ZMSCORE",
    b"ZPOPMAX",
    b"ZPOPMIN",
    b"ZRANDMEMBER",
    b"ZRANGE",
    b"ZRANGEBYLEX",
    b"ZRANGEBYSCORE",
    b"ZRANK",
    b"ZREM",
    b"ZREMRANGEBYLEX",
    b"ZREMRANGEBYRANK",
    b"ZREMRANGEBYSCORE",
    b"ZREVRANGE",
    b"ZREVRANGEBYLEX",
    b"ZREVRANGEBYSCORE",
    b"ZREVRANK",
    b"ZSCAN",
    b"ZSCORE",
];

/// Commands that announce the number of their keys: the word with the number, and whether word 1 is a key too.
const COUNTED: &[(&[u8], usize, bool)] = &[
    (b"EVAL", 2, false),
    (b"EVALSHA", 2, false),
    (b"EVAL_RO", 2, false),
    (b"EVALSHA_RO", 2, false),
    (b"FCALL", 2, false),
    (b"FCALL_RO", 2, false),
    (b"ZUNION", 1, false),
    (b"ZINTER", 1, false),
    (b"ZDIFF", 1, false),
    (b"ZINTERCARD", 1, false),
    (b"SINTERCARD", 1, false),
    (b"LMPOP", 1, false),
    (b"ZMPOP", 1, false),
    (b"BLMPOP", 2, false),
    (b"BZMPOP", 2, false),
    (b"ZUNIONSTORE", 2, true),
    (b"ZINTERSTORE", 2, true),
    (b"ZDIFFSTORE", 2, true),
];

/// Commands without keys whose next word says what they do.
const CONTAINERS: &[&[u8]] = &[
    b"ACL",
    b"CLIENT",
    b"CLUSTER",
    b"COMMAND",
    b"CONFIG",
    b"DEBUG",
    b"FUNCTION",
    b"LATENCY",
    b"MEMORY",
    b"MODULE",
    b"PUBSUB",
    b"SCRIPT",
    b"SENTINEL",
    b"SLOWLOG",
];

/// Other commands that may open an inline conversation.
const OTHERS: &[&[u8]] = &[
    b"AUTH",
    b"DBSIZE",
    b"DISCARD",
    b"ECHO",
    b"EXEC",
    b"FLUSHALL",
    b"FLUSHDB",
    b"HELLO",
    b"INFO",
    b"KEYS",
    b"MONITOR",
    b"MULTI",
    b"PING",
    b"PSUBSCRIBE",
    b"PUBLISH",
    b"QUIT",
    b"RESET",
    b"ROLE",
    b"SCAN",
    b"SELECT",
    b"SPUBLISH",
    b"SSUBSCRIBE",
    b"SUBSCRIBE",
    b"TIME",
    b"UNSUBSCRIBE",
    b"UNWATCH",
    b"WAIT",
    b"XREAD",
    b"XREADGROUP",
];

/// Settings whose values are secrets.
const SECRETS: &[&[u8]] = &[
    b"requirepass",
    b"masterauth",
    b"masteruser",
    b"tls-key-file-pass",
    b"tls-client-key-file-pass",
    b"auth-pass",
    b"sentinel-pass",
];

/// How many keys of one command are named: an exchange names its keys one by one, and `MSET` may have thousands.
const MAX_KEYS: usize = 64;

/// Tells whether `name` is a command of Redis, whatever its case.
pub(super) fn known(name: &[u8]) -> bool {
    let is = |other: &&[u8]| name.eq_ignore_ascii_case(other);
    SINGLE.iter().any(is)
        || OTHERS.iter().any(is)
        || CONTAINERS.iter().any(is)
        || RANGES.iter().any(|(other, ..)| is(other))
        || COUNTED.iter().any(|(other, ..)| is(other))
}

/// Returns the positions of the keys in a command of `count` words, of which the first are in `words`.
pub(super) fn keys(words: &[Vec<u8>], count: usize) -> Vec<usize> {
    let Some(name) = words.first() else { return Vec::new() };
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    if SINGLE.iter().any(|other| is(other)) {
        return (1..count.min(2)).collect();
    }
    if let Some((_, number, first)) = COUNTED.iter().find(|(other, ..)| is(other)) {
        let keys = words.get(*number).and_then(|word| parse(word)).unwrap_or(0).min(MAX_KEYS);
        let start = number.saturating_add(1);
        return first.then_some(1).into_iter().chain((start..count).take(keys)).collect();
    }
    if is(b"XREAD") || is(b"XREADGROUP") {
        let Some(streams) = words.iter().position(|word| word.eq_ignore_ascii_case(b"STREAMS")) else {
            return Vec::new();
        };
        let start = streams.saturating_add(1);
        let half = count.saturating_sub(start) / 2;
        return (start..count).take(half.min(MAX_KEYS)).collect();
    }
    if is(b"MEMORY") {
        let usage = words.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"USAGE"));
        return if usage && count > 2 { vec![2] } else { Vec::new() };
    }
    let Some((_, first, last, step)) = RANGES.iter().find(|(other, ..)| is(other)) else { return Vec::new() };
    range(count, *first, *last, *step)
}

/// Tells whether the second word of `name` is part of what the command is called.
pub(super) fn is_container(name: &[u8]) -> bool {
    CONTAINERS.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Tells whether word `index` of the command that begins with `words` is a secret.
pub(super) fn is_secret(words: &[Vec<u8>], index: usize) -> bool {
    let word = |at: usize| words.get(at).map(Vec::as_slice).unwrap_or_default();
    let is = |at: usize, other: &[u8]| word(at).eq_ignore_ascii_case(other);
    let before =
        |distance: usize, other: &[u8]| index.checked_sub(distance).is_some_and(|at| at > 0 && is(at, other));
    if index == 0 {
        return false;
    }
    if is(0, b"AUTH") {
        return true;
    }
    if is(0, b"HELLO") {
        return before(1, b"AUTH") || before(2, b"AUTH");
    }
    if is(0, b"MIGRATE") {
        return before(1, b"AUTH") || before(1, b"AUTH2") || before(2, b"AUTH2");
    }
    if is(0, b"ACL") && is(1, b"SETUSER") && index > 2 {
        return matches!(word(index).first(), Some(b'>' | b'<' | b'#' | b'!'));
    }
    let settings =
        is(0, b"CONFIG") && is(1, b"SET") || is(0, b"SENTINEL") && (is(1, b"SET") || is(1, b"CONFIG"));
    settings && index > 2 && index.checked_sub(1).is_some_and(|at| is_secret_setting(word(at)))
}

/// Tells whether the value of the setting `name` is a secret.
pub(super) fn is_secret_setting(name: &[u8]) -> bool {
    SECRETS.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Tells whether the reply to the command that begins with `words` is one whole secret.
pub(super) fn has_secret_reply(words: &[Vec<u8>]) -> bool {
    let is = |at: usize, other: &[u8]| words.get(at).is_some_and(|word| word.eq_ignore_ascii_case(other));
    is(0, b"ACL") && (is(1, b"LIST") || is(1, b"GETUSER") || is(1, b"GENPASS"))
}

/// Reads a decimal number.
pub(super) fn parse<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn range(count: usize, first: i32, last: i32, step: i32) -> Vec<usize> {
    let Ok(total) = i32::try_from(count) else { return Vec::new() };
    let last = if last < 0 { total.saturating_add(last) } else { last.min(total.saturating_sub(1)) };
    let step = usize::try_from(step).unwrap_or(1).max(1);
    match (usize::try_from(first), usize::try_from(last)) {
        (Ok(first), Ok(last)) => (first..=last).step_by(step).take(MAX_KEYS).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_secret, keys, known};

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn keys_are_where_the_command_has_them() {
        for (command, want) in [
            ("GET a", vec![1]),
            ("get a", vec![1]),
            ("PING", vec![]),
            ("GET", vec![]),
            ("MSET a 1 b 2", vec![1, 3]),
            ("DEL a b c", vec![1, 2, 3]),
            ("BLPOP a b 0", vec![1, 2]),
            ("EVAL s 2 a b c", vec![3, 4]),
            ("EVAL s 0 a", vec![]),
            ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", vec![1, 3, 4]),
            ("XREAD COUNT 1 STREAMS a b 0 0", vec![4, 5]),
            ("OBJECT ENCODING a", vec![2]),
            ("EVAL s 99999999 a", vec![3]),
        ] {
            let words = words(command);
            assert_eq!(keys(&words, words.len()), want, "{command}");
        }
        assert!(known(b"hgetall") && known(b"client") && !known(b"HTTP/1.1"));
    }

    #[test]
    fn secrets_are_known() {
        for (command, want) in [
            ("AUTH user pass", vec![1, 2]),
            ("HELLO 3 AUTH u p SETNAME x", vec![3, 4]),
            ("ACL SETUSER bob on >x #ab ~* +@all", vec![4, 5]),
            ("CONFIG SET maxmemory 0 requirepass x", vec![5]),
            ("CONFIG GET requirepass", vec![]),
            ("MIGRATE h 1 k 0 1 AUTH2 u p", vec![7, 8]),
            ("SET AUTH pass", vec![]),
        ] {
            let words = words(command);
            let got: Vec<usize> = (0..words.len()).filter(|index| is_secret(&words, *index)).collect();
            assert_eq!(got, want, "{command}");
        }
    }
}
