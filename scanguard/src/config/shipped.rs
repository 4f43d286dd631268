//! The ports that are restricted where they are open, and those that are canaries where they are closed, unless the file says otherwise.

use super::ports::{PortList, PortRange};

/// [`RESTRICTED`] as a list.
pub(super) fn restricted() -> PortList {
    PortList(RESTRICTED.iter().map(|(port, _)| PortRange::tcp(*port)).collect())
}

/// TCP ports of administration, databases, caches, queues, orchestration and monitoring: services that answer to the people who run the
/// host, and that scanners look for. docs/detection.md says what the list rests on. Left out on purpose is whatever a public service may
/// well use: 8080 and 8443 ([`FALLBACK`]), 5000, 8000, 8081, 8888, 9000, 9443, mail, SIP, LDAP, MQTT, proxies.
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
    (902, "VMware ESXi"),
    (1099, "Java RMI"),
    (1433, "Microsoft SQL Server"),
    (1521, "Oracle Database"),
    (2049, "NFS"),
    (2181, "ZooKeeper"),
    (2375, "Docker, unencrypted"),
    (2376, "Docker, TLS"),
    (2377, "Docker Swarm"),
    (2379, "etcd clients"),
    (2380, "etcd peers"),
    (3000, "Grafana"),
    (3260, "iSCSI"),
    (3306, "MySQL, MariaDB"),
    (3389, "Remote Desktop"),
    (4369, "Erlang port mapper (RabbitMQ)"),
    (4646, "Nomad"),
    (4848, "GlassFish administration"),
    (5432, "PostgreSQL"),
    (5601, "Kibana"),
    (5666, "NRPE"),
    (5672, "AMQP"),
    (5900, "VNC"),
    (5901, "VNC, second display"),
    (5984, "CouchDB"),
    (5985, "WinRM, HTTP"),
    (5986, "WinRM, HTTPS"),
    (6000, "X11"),
    (6379, "Redis, Valkey"),
    (6443, "Kubernetes API"),
    (7001, "Cassandra between nodes with TLS, WebLogic administration"),
    (7199, "Cassandra, JMX"),
    (7474, "Neo4j, HTTP"),
    (7687, "Neo4j, Bolt"),
    (8006, "Proxmox VE"),
    (8007, "Proxmox Backup Server"),
    (8086, "InfluxDB"),
    (8161, "ActiveMQ console"),
    (8200, "Vault"),
    (8291, "RouterOS, WinBox"),
    (8300, "Consul between servers"),
    (8500, "Consul"),
    (8728, "RouterOS API"),
    (8729, "RouterOS API, TLS"),
    (8983, "Solr"),
    (9042, "Cassandra"),
    (9090, "Prometheus, Cockpit"),
    (9091, "Prometheus Pushgateway"),
    (9092, "Kafka"),
    (9093, "Prometheus Alertmanager"),
    (9100, "Prometheus node exporter, printers (JetDirect)"),
    (9115, "Prometheus blackbox exporter"),
    (9200, "Elasticsearch, OpenSearch"),
    (9300, "Elasticsearch between nodes"),
    (9990, "WildFly administration"),
    (10000, "Webmin"),
    (10050, "Zabbix agent"),
    (10250, "Kubernetes kubelet"),
    (10255, "Kubernetes kubelet, read-only"),
    (11211, "memcached"),
    (15672, "RabbitMQ management"),
    (25672, "RabbitMQ between nodes"),
    (26257, "CockroachDB"),
    (27017, "MongoDB"),
    (27018, "MongoDB shards"),
    (27019, "MongoDB configuration servers"),
    (50000, "Db2, SAP management"),
    (61616, "ActiveMQ"),
];

/// [`CANARY`] as a list.
pub(super) fn canary() -> PortList {
    PortList(CANARY.iter().map(|(port, _)| PortRange::tcp(*port)).collect())
}

/// TCP ports that scanners ask for and no customer does. Each is a bad port of the Fetch standard (<https://fetch.spec.whatwg.org/#port-blocking>),
/// so that no web page can make a browser connect to it, and each belongs to a protocol that no program of today uses over TCP. nmap asks
/// for ten of them by default (its 1,000 ports) and for all by `-p 1-1024`. None is restricted by default: among answers to some of the
/// canaries, the silence of another would tell that it is open. docs/detection.md has the sources.
pub const CANARY: &[(u16, &str)] = &[
    (1, "TCP port multiplexer, RFC 1078"),
    (7, "Echo, RFC 862"),
    (9, "Discard, RFC 863"),
    (11, "Active users, RFC 866"),
    (13, "Daytime, RFC 867"),
    (15, "netstat"),
    (17, "Quote of the day, RFC 865"),
    (19, "Character generator, RFC 864"),
    (37, "Time, RFC 868"),
    (42, "Host names, IEN 116"),
    (77, "Private remote job entry"),
    (79, "Finger, RFC 1288"),
    (87, "Private terminal link"),
    (95, "SUPDUP, RFC 734"),
    (109, "POP2, RFC 937"),
];

/// TCP ports that clients try on their own after another one, or that people type by habit: web, mail and SIP. A decoy there would meet
/// customers. 8080 is one of them, and for that reason is neither a canary nor restricted by itself: it is `http-alt` of the IANA registry,
/// the port of half of all web applications' defaults, and what people try where 80 does not answer. With 80, 443 and 8443 it is one
/// contact, so that such a customer fails once.
pub const FALLBACK: [u16; 13] = [25, 80, 110, 143, 443, 465, 587, 993, 995, 5060, 5061, 8080, 8443];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_leaves_the_web_alone() {
        assert!(RESTRICTED.is_sorted_by(|one, other| one.0 < other.0));
        assert!(RESTRICTED.iter().all(|(port, _)| !FALLBACK.contains(port)));
    }

    #[test]
    fn canaries_are_sorted_and_neither_restricted_nor_asked_for_by_clients() {
        assert!(CANARY.is_sorted_by(|one, other| one.0 < other.0));
        for (port, name) in CANARY {
            assert!(!FALLBACK.contains(port), "{port} ({name})");
            assert!(RESTRICTED.iter().all(|(restricted, _)| restricted != port), "{port} ({name})");
        }
    }

    #[test]
    fn consoles_and_monitors_are_restricted() {
        for wanted in [3000, 8006, 9090, 9100, 10_000] {
            assert!(RESTRICTED.iter().any(|(port, _)| *port == wanted), "{wanted}");
        }
    }
}
