//! The ports that are restricted where they are open, unless the file says otherwise.

use super::ports::{PortList, PortRange};

/// [`RESTRICTED`] as a list.
pub(super) fn restricted() -> PortList {
    PortList(RESTRICTED.iter().map(|(port, _)| PortRange::tcp(*port)).collect())
}

/// TCP ports of administration, databases, caches, queues and orchestration: services that answer to the people who run the
/// host, and that scanners look for. Numbers are those of the IANA registry or, where there is none, of the programs'
/// own defaults. Left out on purpose: whatever a public service may well use (8080, 8443, 9000, mail, SIP).
pub const RESTRICTED: &[(u16, &str)] = &[
    (22, "SSH"),
    (23, "Telnet"),
    (111, "ONC RPC portmapper"),
    (135, "Microsoft RPC"),
    (139, "NetBIOS sessions"),
    (445, "SMB"),
    (512, "rexec"),
    (513, "rlogin"),
    (514, "rsh"),
    (623, "IPMI"),
    (873, "rsync"),
    (1433, "Microsoft SQL Server"),
    (1521, "Oracle Database"),
    (2049, "NFS"),
    (2181, "ZooKeeper"),
    (2375, "Docker, unencrypted"),
    (2376, "Docker, TLS"),
    (2379, "etcd clients"),
    (2380, "etcd peers"),
    (3306, "MySQL, MariaDB"),
    (3389, "Remote Desktop"),
    (5432, "PostgreSQL"),
    (5672, "AMQP"),
    (5900, "VNC"),
    (5901, "VNC, second display"),
    (5984, "CouchDB"),
    (5985, "WinRM, HTTP"),
    (5986, "WinRM, HTTPS"),
    (6379, "Redis, Valkey"),
    (6443, "Kubernetes API"),
    (7001, "Cassandra between nodes, WebLogic administration"),
    (8086, "InfluxDB"),
    (8728, "RouterOS API"),
    (9042, "Cassandra"),
    (9092, "Kafka"),
    (9200, "Elasticsearch, OpenSearch"),
    (9300, "Elasticsearch between nodes"),
    (10250, "Kubernetes kubelet"),
    (11211, "memcached"),
    (15672, "RabbitMQ management"),
    (27017, "MongoDB"),
    (27018, "MongoDB shards"),
    (50000, "Db2, SAP management"),
];

/// TCP ports that clients try on their own after another one, or that people type by habit: web, mail and SIP. A decoy there would meet
/// customers.
pub const FALLBACK: [u16; 13] = [25, 80, 110, 143, 443, 465, 587, 993, 995, 5060, 5061, 8080, 8443];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_leaves_the_web_alone() {
        assert!(RESTRICTED.is_sorted_by(|one, other| one.0 < other.0));
        assert!(RESTRICTED.iter().all(|(port, _)| ![80, 443, 8080, 8443].contains(port)));
    }
}
