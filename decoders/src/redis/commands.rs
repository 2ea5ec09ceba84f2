//! What the decoder knows of single Redis commands: their names, where their keys are, and how a line is split.

/// Positions of the keys among the words of a command (word 0 is the name): first, last (negative counts from the
/// end), step. Taken from `COMMAND` of Redis 7.0, and the lists of Redis 8.4 and Valkey 9; commands with one key at word 1 are not listed but in [`SINGLE_KEY`].
const KEY_RANGES: &[(&[u8], i32, i32, i32)] = &[
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
const SINGLE_KEY: &[&[u8]] = &[
    b"APPEND",
    b"BITCOUNT",
    b"BITFIELD",
    b"BITFIELD_RO",
    b"BITPOS",
    b"DECR",
    b"DECRBY",
    b"DELEX",
    b"DELIFEQ",
    b"DIGEST",
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
    b"HEXPIREAT",
    b"HEXPIRETIME",
    b"HGET",
    b"HGETALL",
    b"HGETDEL",
    b"HGETEX",
    b"HINCRBY",
    b"HINCRBYFLOAT",
    b"HKEYS",
    b"HLEN",
    b"HMGET",
    b"HMSET",
    b"HPERSIST",
    b"HPEXPIRE",
    b"HPEXPIREAT",
    b"HPEXPIRETIME",
    b"HPTTL",
    b"HRANDFIELD",
    b"HSCAN",
    b"HSET",
    b"HSETEX",
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
    b"RESTORE-ASKING",
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
    b"VADD",
    b"VCARD",
    b"VDIM",
    b"VEMB",
    b"VGETATTR",
    b"VINFO",
    b"VISMEMBER",
    b"VLINKS",
    b"VRANDMEMBER",
    b"VRANGE",
    b"VREM",
    b"VSETATTR",
    b"VSIM",
    b"XACK",
    b"XACKDEL",
    b"XADD",
    b"XAUTOCLAIM",
    b"XCFGSET",
    b"XCLAIM",
    b"XDEL",
    b"XDELEX",
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
const COUNTED_KEYS: &[(&[u8], usize, bool)] = &[
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
const CONTAINER_COMMANDS: &[&[u8]] = &[
    b"ACL",
    b"CLIENT",
    b"CLUSTER",
    b"COMMAND",
    b"COMMANDLOG",
    b"CONFIG",
    b"DEBUG",
    b"FUNCTION",
    b"HOTKEYS",
    b"LATENCY",
    b"MEMORY",
    b"MODULE",
    b"PUBSUB",
    b"SCRIPT",
    b"SENTINEL",
    b"SLOWLOG",
];

/// Other commands that may open an inline conversation.
const OTHER_COMMANDS: &[&[u8]] = &[
    b"ASKING",
    b"AUTH",
    b"BGREWRITEAOF",
    b"BGSAVE",
    b"CLUSTERSCAN",
    b"DBSIZE",
    b"DISCARD",
    b"ECHO",
    b"EXEC",
    b"FAILOVER",
    b"FLUSHALL",
    b"FLUSHDB",
    b"HELLO",
    b"INFO",
    b"KEYS",
    b"LASTSAVE",
    b"LOLWUT",
    b"MONITOR",
    b"MULTI",
    b"PFDEBUG",
    b"PFSELFTEST",
    b"PING",
    b"PSUBSCRIBE",
    b"PSYNC",
    b"PUBLISH",
    b"PUNSUBSCRIBE",
    b"QUIT",
    b"RANDOMKEY",
    b"READONLY",
    b"READWRITE",
    b"REPLCONF",
    b"REPLICAOF",
    b"RESET",
    b"ROLE",
    b"SAVE",
    b"SCAN",
    b"SELECT",
    b"SHUTDOWN",
    b"SLAVEOF",
    b"SPUBLISH",
    b"SSUBSCRIBE",
    b"SUBSCRIBE",
    b"SUNSUBSCRIBE",
    b"SWAPDB",
    b"SYNC",
    b"TIME",
    b"UNSUBSCRIBE",
    b"UNWATCH",
    b"WAIT",
    b"WAITAOF",
    b"XREAD",
    b"XREADGROUP",
];

/// How many keys of one command are named: an exchange names its keys one by one, and `MSET` may have thousands.
const MAX_KEYS: usize = 64;

/// Modules of which the commands begin so.
const MODULE_PREFIXES: &[&[u8]] = &[
    b"AI.",
    b"BF.",
    b"CF.",
    b"CL.",
    b"CMS.",
    b"FT.",
    b"GRAPH.",
    b"JSON.",
    b"RG.",
    b"TDIGEST.",
    b"TOPK.",
    b"TS.",
];

/// Tells whether `name` is a command of Redis, or of one of its modules, whatever its case.
pub(super) fn known(name: &[u8]) -> bool {
    names().any(|other| name.eq_ignore_ascii_case(other)) || is_of_module(name)
}

/// Tells whether a known name begins with `begun`.
pub(super) fn may_become_known(begun: &[u8]) -> bool {
    let begins = |other: &[u8]| other.get(..begun.len()).is_some_and(|head| head.eq_ignore_ascii_case(begun));
    names().any(begins) || MODULE_PREFIXES.iter().any(|module| begins(module)) || is_of_module(begun)
}

/// Tells whether `name` is written as the names of commands are.
pub(super) fn is_name(name: &[u8]) -> bool {
    name.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_|:".contains(byte))
}

fn names() -> impl Iterator<Item = &'static [u8]> {
    let lists = [SINGLE_KEY, OTHER_COMMANDS, CONTAINER_COMMANDS];
    let plain = lists.into_iter().flatten().copied();
    plain.chain(KEY_RANGES.iter().map(|(name, ..)| *name)).chain(COUNTED_KEYS.iter().map(|(name, ..)| *name))
}

fn is_of_module(name: &[u8]) -> bool {
    let of = |module: &&[u8]| {
        let head = name.get(..module.len()).unwrap_or_default();
        head.eq_ignore_ascii_case(module) && name.len() > module.len()
    };
    MODULE_PREFIXES.iter().any(of) && is_name(name)
}

/// Returns the positions of the keys in a command of `count` words, of which the first are in `words`.
pub(super) fn keys(words: &[Vec<u8>], count: usize) -> Vec<usize> {
    let Some(name) = words.first() else { return Vec::new() };
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    if SINGLE_KEY.iter().any(|other| is(other)) {
        return (1..count.min(2)).collect();
    }
    if let Some((_, number, first)) = COUNTED_KEYS.iter().find(|(other, ..)| is(other)) {
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
    let Some((_, first, last, step)) = KEY_RANGES.iter().find(|(other, ..)| is(other)) else {
        return Vec::new();
    };
    range(count, *first, *last, *step)
}

/// Tells whether the second word of `name` is part of what the command is called.
pub(super) fn is_container(name: &[u8]) -> bool {
    CONTAINER_COMMANDS.iter().any(|other| name.eq_ignore_ascii_case(other))
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
    use super::{keys, known};

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
}
