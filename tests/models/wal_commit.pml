/* The WAL commit protocol (docs/protocols/wal_commit.md), small enough to be searched completely: three acceptors, one
 * proposer for each of TERMS terms, logs of LENGTH records, POWER_CUTS power failures in all, at any moment.
 *
 * A record is modelled by the term whose proposer wrote it: records of different terms look alike to an acceptor (equal
 * bytes, a valid chain), the checker tells them apart. Messages: a fact that was said stays true ("term T's log up to F
 * was durable there"), so an answer that arrives late is one that was taken in late; what a proposer or member knows is
 * the last answer that it took in, and it may never take in another. Power: of what was not synced each record
 * survives or not, by itself; recovery reads up to the first gap.
 *
 * Checked: what anybody ever calls committed is never different, and stands in the log of every later term that begins.
 * -DBUG_... breaks one rule; the search must find that (test_models.py). */

#ifndef TERMS
#define TERMS 3
#endif
#ifndef LENGTH
#define LENGTH 2
#endif
#ifndef POWER_CUTS
#define POWER_CUTS 1
#endif
#define MEMBERS 3
#define MAJORITY 2
#define NONE 15

typedef Acceptor {
  byte term;               /* promised */
  byte saved_term;         /* the same in the control file */
  byte history[TERMS + 1]; /* where a term starts, or NONE; in the control file */
  byte disk[LENGTH];       /* whose record; 0: zeros. [flushed, end) is written, not synced */
  byte end, flushed;
  byte commit;
#ifdef BUG_HISTORY_FIRST
  bool must_cut; byte cut;
#endif
#ifdef BUG_NO_SYNC_AT_START
  byte synced;
#endif
#ifdef PEERS
  byte said_term, said_flush; /* what the others heard of it last, by the broker */
#endif
};

typedef Proposer {
  byte votes;              /* bit per member; all of them while asking */
  bool won;
  byte best_term;          /* the most advanced voter's log term */
  byte start;              /* X; while asking: the most advanced voter's flush_lsn */
  byte history[TERMS + 1];
  byte log[LENGTH];        /* as that voter had it, then its own */
  byte held[MEMBERS];      /* what a member acknowledged of this term's log */
  byte commit;
};

Acceptor acceptor[MEMBERS];
Proposer proposer[TERMS + 1]; /* of term 1.. */
byte truth[LENGTH];           /* what was called committed */
byte truth_term[LENGTH];      /* … and the lowest term in which it was */
byte truth_end;
byte power_cuts;

/* The last term of a history that starts at or before x: the term that owns x. */
#define OWNER(HISTORY, LSN, RESULT) \
  RESULT = 0; \
  for (k : 1 .. TERMS) { \
    if \
    :: HISTORY[k] <= LSN -> RESULT = k \
    :: else \
    fi \
  } \
  k = 0

/* records[0, upto) are called committed in TERM: all later terms that have begun contain them. */
#define CALL_COMMITTED(RECORDS, UPTO, TERM) \
  for (k : 0 .. LENGTH - 1) { \
    if \
    :: k < UPTO && k < truth_end -> \
         assert(RECORDS[k] == truth[k]); \
         truth_term[k] = (TERM < truth_term[k] -> TERM : truth_term[k]) \
    :: k < UPTO && k >= truth_end -> assert(RECORDS[k] != 0); truth[k] = RECORDS[k]; truth_term[k] = TERM \
    :: else \
    fi; \
    for (w : 1 .. TERMS) { \
      assert(!(k < UPTO && proposer[w].won && w > TERM && proposer[w].log[k] != RECORDS[k])) \
    } \
    w = 0 \
  } \
  if \
  :: UPTO > truth_end -> truth_end = UPTO \
  :: else \
  fi; \
  k = 0

inline flush(a) {
  acceptor[a].flushed = acceptor[a].end;
#ifdef BUG_NO_SYNC_AT_START
  acceptor[a].synced = acceptor[a].end;
#endif
}

/* A vote: everything accepted is synced, the promise is durable, the answer tells how far the log goes. */
inline vote(t, a) {
#ifndef BUG_VOTE_BEFORE_FLUSH
  flush(a);
#endif
  acceptor[a].term = t;
#ifndef BUG_VOTE_NOT_SAVED
  acceptor[a].saved_term = t;
#endif
  OWNER(acceptor[a].history, acceptor[a].flushed, x);
#ifdef BUG_ADOPTED_TERM /* rule 1 */
  OWNER(acceptor[a].history, NONE - 1, x);
#endif
  if
  :: proposer[t].votes == 0 || x > proposer[t].best_term ||
     (x == proposer[t].best_term && acceptor[a].flushed > proposer[t].start) ->
       proposer[t].best_term = x;
       proposer[t].start = acceptor[a].flushed;
       for (k : 1 .. TERMS) {
         proposer[t].history[k] = (acceptor[a].history[k] <= acceptor[a].flushed -> acceptor[a].history[k] : NONE)
       }
       for (k : 0 .. LENGTH - 1) {
         proposer[t].log[k] = (k < acceptor[a].flushed -> acceptor[a].disk[k] : 0)
       }
       k = 0
  :: else
  fi;
  proposer[t].votes = proposer[t].votes | (1 << a);
  x = 0
}

inline win(t) {
  proposer[t].won = true;
  proposer[t].history[t] = proposer[t].start;
  for (k : 0 .. LENGTH - 1) {
    if
    :: k >= proposer[t].start -> proposer[t].log[k] = t /* what it will write */
    :: else
    fi;
    assert(!(k < truth_end && truth_term[k] < t && proposer[t].log[k] != truth[k]))
  }
  k = 0;
  /* Not needed any more. */
  proposer[t].best_term = 0;
  proposer[t].start = 0;
  proposer[t].votes = 0
}

/* z: where the acceptor's log and the proposer's part. */
inline fork(t, a) {
  z = 0;
  do
  :: z < acceptor[a].end ->
       OWNER(acceptor[a].history, z, x);
       OWNER(proposer[t].history, z, y);
       if
       :: x != y -> break
       :: else -> z++
       fi
  :: else -> break
  od;
  x = 0; y = 0
}

inline zero_behind(a, from) {
  for (k : 0 .. LENGTH - 1) {
    if
    :: k >= from -> acceptor[a].disk[k] = 0
    :: else
    fi
  }
  k = 0;
  acceptor[a].end = from;
  flush(a)
}

/* Elected, its first half: the tail that this term does not share is zeroed and synced. */
inline truncate(t, a) {
  fork(t, a);
  zero_behind(a, z);
  z = 0
}
/* Its second half: the history is durable, and the term with it. */
inline adopt(t, a) {
  acceptor[a].term = t;
  acceptor[a].saved_term = t;
  for (k : 1 .. TERMS) {
    acceptor[a].history[k] = proposer[t].history[k]
  }
  k = 0
}

/* The power goes and comes back. */
inline recover(a) {
  acceptor[a].term = acceptor[a].saved_term;
  acceptor[a].commit = 0;
  acceptor[a].end = 0;
  do
  :: acceptor[a].end < LENGTH && acceptor[a].disk[acceptor[a].end] != 0 -> acceptor[a].end++
  :: else -> break
  od;
#ifdef BUG_HISTORY_FIRST
  acceptor[a].must_cut = false; acceptor[a].cut = 0;
#endif
  flush(a)
}

#ifdef BUG_HISTORY_FIRST /* rule 4 */
#define MAY_WRITE(a) (!acceptor[a].must_cut)
#else
#define MAY_WRITE(a) true
#endif
#ifdef BUG_NO_SYNC_AT_START
#define SYNCED(a) acceptor[a].synced
#else
#define SYNCED(a) acceptor[a].flushed
#endif
#ifdef BUG_ACK_BEFORE_SYNC
#define ACKNOWLEDGED(a) acceptor[a].end
#else
#define ACKNOWLEDGED(a) acceptor[a].flushed
#endif
#ifdef BUG_PROMISED_COUNTS /* rule 7 */
#define PROMISED_NO_MORE_THAN(a, t) true
#else
#define PROMISED_NO_MORE_THAN(a, t) (acceptor[a].term == t)
#endif
#define ADOPTED(t, a) (acceptor[a].history[t] != NONE)

active proctype world() {
  byte t, a, b, x, y, z, k, w;
  d_step {
    for (a : 0 .. MEMBERS - 1) {
      for (t : 1 .. TERMS) { acceptor[a].history[t] = NONE }
      acceptor[a].history[0] = NONE
    }
    a = 0; t = 0
  }
  do
  :: atomic {
       /* Any acceptor, any term. */
       if :: t = 1 :: t = 2
#if TERMS > 2
          :: t = 3
#endif
#if TERMS > 3
          :: t = 4
#endif
       fi;
       if :: a = 0 :: a = 1 :: a = 2 fi;
       if
       /* -- election */
       :: !proposer[t].won && acceptor[a].term < t && (proposer[t].votes & (1 << a)) == 0 ->
            d_step { vote(t, a) }
       :: !proposer[t].won && a == 0 && proposer[t].votes != 0 && (proposer[t].votes & (proposer[t].votes - 1)) != 0 ->
            d_step { win(t) }
#ifdef BUG_HISTORY_FIRST
       :: proposer[t].won && acceptor[a].term <= t && !ADOPTED(t, a) ->
            d_step {
              fork(t, a);
              acceptor[a].cut = z; z = 0; acceptor[a].must_cut = true;
              adopt(t, a)
            }
       :: acceptor[a].must_cut && t == 1 ->
            d_step { zero_behind(a, acceptor[a].cut); acceptor[a].must_cut = false; acceptor[a].cut = 0 }
#else
       :: proposer[t].won && acceptor[a].term <= t && !ADOPTED(t, a) ->
            d_step { truncate(t, a) };
            if
            :: d_step { adopt(t, a) }
            :: true /* the message's second half never happens */
            fi
#endif
       /* -- WAL */
       :: proposer[t].won && acceptor[a].term == t && ADOPTED(t, a) && MAY_WRITE(a) &&
          acceptor[a].end < LENGTH ->
            d_step { acceptor[a].disk[acceptor[a].end] = proposer[t].log[acceptor[a].end]; acceptor[a].end++ }
       :: t == 1 && acceptor[a].flushed < acceptor[a].end -> d_step { flush(a) }
       /* -- acknowledgements */
       :: proposer[t].won && MAY_WRITE(a) &&
#ifdef BUG_VOTE_BEFORE_FLUSH /* rule 5: and acknowledges after the vote as if it had not been */
          acceptor[a].term >= t && ADOPTED(t, a) &&
#else
          acceptor[a].term == t &&
#endif
          ADOPTED(t, a) && acceptor[a].history[t] <= ACKNOWLEDGED(a) &&
          proposer[t].held[a] < ACKNOWLEDGED(a) ->
            d_step { proposer[t].held[a] = ACKNOWLEDGED(a) }
       :: proposer[t].won && a == 0 ->
            d_step {
              /* The second highest of three. */
              x = proposer[t].held[0]; y = proposer[t].held[1]; z = proposer[t].held[2];
              if
              :: (x >= y && x <= z) || (x <= y && x >= z) -> k = x
              :: (y >= x && y <= z) || (y <= x && y >= z) -> k = y
              :: else -> k = z
              fi;
              x = k; y = 0; z = 0; k = 0;
              if
              :: x > proposer[t].commit -> proposer[t].commit = x; CALL_COMMITTED(proposer[t].log, x, t)
              :: else
              fi;
              x = 0
            }
       /* -- commit_lsn at acceptors: told by a proposer, or counted among themselves */
       :: proposer[t].won && proposer[t].commit > acceptor[a].commit ->
            d_step {
              OWNER(acceptor[a].history, acceptor[a].flushed, x);
              if
#ifdef BUG_COMMIT_OF_ANY_TERM /* rule 6 */
              :: true ->
#else
              :: x == t ->
#endif
                   y = (proposer[t].commit < acceptor[a].flushed -> proposer[t].commit : acceptor[a].flushed);
                   if
                   :: y > acceptor[a].commit -> acceptor[a].commit = y; CALL_COMMITTED(acceptor[a].disk, y, x)
                   :: else
                   fi
#ifndef BUG_COMMIT_OF_ANY_TERM
              :: else
#endif
              fi;
              x = 0; y = 0
            }
#ifdef PEERS
       :: t == 1 && acceptor[a].flushed > 0 ->
            d_step {
              OWNER(acceptor[a].history, acceptor[a].flushed, x);
              if
              :: PROMISED_NO_MORE_THAN(a, x) -> acceptor[a].said_term = x; acceptor[a].said_flush = acceptor[a].flushed
              :: else
              fi;
              x = 0
            }
       :: t == 2 && acceptor[a].flushed > acceptor[a].commit ->
            d_step {
              OWNER(acceptor[a].history, acceptor[a].flushed, x); /* one log term, behind its start (rule 7) */
              if
              :: PROMISED_NO_MORE_THAN(a, x)
              :: else -> x = 0
              fi;
              z = 0;
              for (b : 0 .. MEMBERS - 1) {
                if
                :: b != a && acceptor[b].said_term == x && x > 0 ->
                     y = (acceptor[b].said_flush < acceptor[a].flushed -> acceptor[b].said_flush : acceptor[a].flushed);
                     if
                     :: y > z -> z = y
                     :: else
                     fi
                :: else
                fi
              }
              b = 0;
              if
              :: x > 0 && z >= acceptor[a].history[x] && z > acceptor[a].commit ->
                   acceptor[a].commit = z; CALL_COMMITTED(acceptor[a].disk, z, x)
              :: else
              fi;
              x = 0; y = 0; z = 0
            }
#endif
       /* -- the power goes: what was not synced survives or not, record by record */
       :: t == 1 && power_cuts < POWER_CUTS ->
            power_cuts++;
            x = SYNCED(a);
            do
            :: x < acceptor[a].end -> if :: true :: acceptor[a].disk[x] = 0 fi; x++
            :: else -> break
            od;
            x = 0;
            d_step { recover(a) }
#ifdef BUG_NO_SYNC_AT_START
       /* A killed process: all that was written is there, and taken for synced by the next one. */
       :: t == 2 && power_cuts < POWER_CUTS ->
            power_cuts++;
            d_step { x = acceptor[a].synced; recover(a); acceptor[a].synced = x; x = 0 }
#endif
       fi;
       t = 0; a = 0
     }
  od
}
