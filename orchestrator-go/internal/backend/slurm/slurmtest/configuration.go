package slurmtest

// configuration is a slurm.conf of: node, two ports, user, folder, CPUs, accounting. What makes scheduling
// immediate stands in SchedulerParameters.
const configuration = `ClusterName=slurmtest
SlurmctldHost=%[1]s(127.0.0.1)
SlurmctldPort=%[2]d
SlurmdPort=%[3]d
SlurmUser=%[4]s
SlurmdUser=%[4]s
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,default_queue_depth=1000,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
%[7]s
JobAcctGatherType=jobacct_gather/none
StateSaveLocation=%[5]s/state
SlurmdSpoolDir=%[5]s/slurmd
SlurmctldPidFile=%[5]s/slurmctld.pid
SlurmdPidFile=%[5]s/slurmd.pid
SlurmdParameters=config_overrides
SlurmdTimeout=300
ReturnToService=2
KillWait=1
MessageTimeout=5
NodeName=%[1]s NodeAddr=127.0.0.1 Port=%[3]d CPUs=%[6]d RealMemory=1000 State=UNKNOWN
PartitionName=DEFAULT Nodes=ALL State=UP MaxTime=INFINITE OverSubscribe=NO
PartitionName=main Default=YES PriorityTier=5 PreemptMode=OFF
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE
PartitionName=expendable PriorityTier=1 PreemptMode=CANCEL
PartitionName=high PriorityTier=10 PreemptMode=OFF
PartitionName=idle State=DOWN PreemptMode=OFF
`

const accountingConfiguration = `AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=%d`

// accountsConfiguration is a slurmdbd.conf of: user, its port, the database's port, folder.
const accountsConfiguration = `AuthType=auth/none
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=%[2]d
SlurmUser=%[1]s
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=%[3]d
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
PidFile=%[4]s/slurmdbd.pid
`
