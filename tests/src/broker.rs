//! The servers of an installation: which broker, and how they are started.

use anyhow::Context;
use bul_harness::{Nats, NatsOptions, PostgresOptions, RabbitMq};

/// Servers of a cluster.
pub(crate) const NODES: usize = 3;

/// Which broker the installation uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerKind {
    /// NATS JetStream.
    Nats,
    /// RabbitMQ as the distribution has it.
    Rabbit,
    /// RabbitMQ 4; a test on it asks [`BrokerKind::is_installed`] first.
    NewestRabbit,
    /// Three NATS servers in one cluster, each stream on all of them.
    NatsCluster,
    /// Three RabbitMQ nodes in one cluster, each lane's queue on all of them.
    RabbitCluster,
}

impl BrokerKind {
    /// Whether it is NATS and not RabbitMQ.
    pub fn is_nats(self) -> bool {
        match self {
            Self::Nats | Self::NatsCluster => true,
            Self::Rabbit | Self::NewestRabbit | Self::RabbitCluster => false,
        }
    }

    /// Whether it can be started here; prints a note where it cannot.
    pub fn is_installed(self) -> bool {
        match self {
            Self::NewestRabbit => RabbitMq::newest().is_some(),
            Self::Nats | Self::Rabbit | Self::NatsCluster | Self::RabbitCluster => true,
        }
    }
}

/// The broker's server.
pub enum BrokerServer {
    /// NATS JetStream.
    Nats(Nats),
    /// RabbitMQ.
    Rabbit(RabbitMq),
    /// Three NATS servers; what is done to the broker as a whole is done to the first.
    NatsCluster(Vec<Nats>),
    /// Three RabbitMQ nodes; the same.
    RabbitCluster(Vec<RabbitMq>),
}

/// How the servers of an installation are started.
#[derive(Debug, Clone, Default)]
pub struct Servers {
    /// The store's.
    pub postgres: PostgresOptions,
    /// The broker's, where it is one NATS server.
    pub nats: NatsOptions,
}

impl BrokerServer {
    pub(crate) fn start(kind: BrokerKind, nats: NatsOptions) -> anyhow::Result<Self> {
        Ok(match kind {
            BrokerKind::Nats => Self::Nats(Nats::start_with(nats)?),
            BrokerKind::Rabbit => Self::Rabbit(RabbitMq::start()?),
            BrokerKind::NewestRabbit => {
                Self::Rabbit(RabbitMq::start_newest()?.context("RabbitMQ 4 is not installed")?)
            }
            BrokerKind::NatsCluster => Self::NatsCluster(Nats::start_cluster(NODES)?),
            BrokerKind::RabbitCluster => Self::RabbitCluster(RabbitMq::start_cluster(NODES)?),
        })
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Nats(server) => server.port(),
            Self::Rabbit(server) => server.port(),
            Self::NatsCluster(nodes) => nodes[0].port(),
            Self::RabbitCluster(nodes) => nodes[0].port(),
        }
    }

    /// The servers of a NATS cluster.
    pub fn nodes(&mut self) -> &mut [Nats] {
        match self {
            Self::NatsCluster(nodes) => nodes,
            Self::Nats(_) | Self::Rabbit(_) | Self::RabbitCluster(_) => panic!("the broker is another one"),
        }
    }

    /// The nodes of a RabbitMQ cluster.
    pub fn rabbits(&mut self) -> &mut [RabbitMq] {
        match self {
            Self::RabbitCluster(nodes) => nodes,
            Self::Nats(_) | Self::Rabbit(_) | Self::NatsCluster(_) => panic!("the broker is another one"),
        }
    }

    /// The one NATS server.
    pub fn nats(&self) -> &Nats {
        match self {
            Self::Nats(server) => server,
            Self::Rabbit(_) | Self::NatsCluster(_) | Self::RabbitCluster(_) => {
                panic!("the broker is another one")
            }
        }
    }

    /// The RabbitMQ node.
    pub fn rabbit(&self) -> &RabbitMq {
        match self {
            Self::Rabbit(server) => server,
            Self::Nats(_) | Self::NatsCluster(_) | Self::RabbitCluster(_) => {
                panic!("the broker is another one")
            }
        }
    }

    pub(crate) fn url(&self, port: u16) -> String {
        let url = match self {
            Self::Nats(server) => server.url(),
            Self::Rabbit(server) => server.url(),
            // Clients know all of them, and no proxy stands before any.
            Self::NatsCluster(nodes) => return nodes.iter().map(Nats::url).collect::<Vec<_>>().join(","),
            Self::RabbitCluster(nodes) => {
                return nodes.iter().map(RabbitMq::url).collect::<Vec<_>>().join(",");
            }
        };
        url.replacen(&format!(":{}", self.port()), &format!(":{port}"), 1)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        match self {
            Self::Nats(server) => server.kill(),
            Self::Rabbit(server) => server.kill(),
            Self::NatsCluster(nodes) => nodes[0].kill(),
            Self::RabbitCluster(nodes) => nodes[0].kill(),
        }
    }

    /// Starts it again on the same data.
    pub fn restart(&mut self) {
        match self {
            Self::Nats(server) => server.restart(),
            Self::Rabbit(server) => server.restart(),
            Self::NatsCluster(nodes) => nodes[0].restart(),
            Self::RabbitCluster(nodes) => nodes[0].restart(),
        }
        .expect("the broker starts again");
    }

    /// Kills it, deletes its data and starts it again.
    pub fn wipe(&mut self) {
        match self {
            Self::Nats(server) => server.wipe(),
            Self::Rabbit(server) => server.wipe(),
            Self::NatsCluster(nodes) => nodes[0].wipe(),
            Self::RabbitCluster(nodes) => nodes[0].wipe(),
        }
        .expect("the broker starts empty");
    }
}
