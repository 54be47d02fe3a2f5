/* Commits, elections and a change of members at the same time (docs/protocols/membership.md), small enough to be searched
 * completely. Safekeepers 0 to 3: members 0, 1, 2 at first, then joint, then 3 in the place of 2, or the change undone, and
 * taken again. One generation follows the other once that one is in force: why that is so, membership.pml searches.
 *
 * WAL is one record long; an acceptor's log is its end (0 or 1), who owns the record, and who owns the end. Everything
 * written is synced: power cuts are wal_commit.pml's. Term 1 is elected when it begins, and its start committed; PROPOSERS
 * more come, in any generation. What anybody said stays true, so it is counted when it is said, and whoever needs it may
 * learn of it then or never.
 *
 * Checked: a term has one winner; what is committed in a term, by its proposer or by the members among themselves, is in
 * the log of every later one, and is never different.
 * -DBUG_... breaks one rule; the search must find that (test_models.py). */

#ifndef GENERATIONS
#define GENERATIONS 3
#endif
#ifndef PROPOSERS
#define PROPOSERS 2 /* besides that of term 1 */
#endif
#define TERMS (PROPOSERS + 1)
#define NEWCOMER 3
#define WINNER 15

#define NOTHING 0
#define OLD 1   /* 0 1 2 */
#define JOINT 2
#define NEW 3   /* 0 1 3 */
#define M_OLD 7
#define M_NEW 11
#define MEMBERS(w) ((w) == NEW -> M_NEW : M_OLD)
#define NEW_MEMBERS(w) ((w) == OLD -> M_OLD : M_NEW)
#define MAJORITY(members, set) ((((members) & (set)) & (((members) & (set)) - 1)) != 0)
#ifdef BUG_ONE_HALF
#define QUORUM(w, set) MAJORITY(MEMBERS(w), set)
#else
#define QUORUM(w, set) (MAJORITY(MEMBERS(w), set) && MAJORITY(NEW_MEMBERS(w), set))
#endif
#define IS_MEMBER(w, a) ((((w) == OLD -> M_OLD : ((w) == NEW -> M_NEW : 15)) >> (a)) & 1)

typedef Acceptor {
  byte generation;  /* in force here; 0: it does not have the timeline */
  bit filling;
  byte term;        /* promised */
  bit flush;
  byte owner;       /* the last adopted term that starts at 0: who writes, or wrote, the record */
  byte end_owner;   /* the last one that starts at 0 or 1 */
};

typedef Proposer {
  byte term;        /* 0: not yet */
  byte generation;  /* in which votes are asked for */
  byte votes;
  byte log_term;    /* the most advanced voter's, or WINNER */
  bit start;        /* X; while asking: that voter's flush_lsn */
  byte owner;       /* of the record before X; if there is none: who will write it */
  bit begun;        /* the start is committed: it may write */
};

typedef Said { byte reached[GENERATIONS + 1] };

Acceptor acceptor[4];
Proposer proposer[PROPOSERS + 1]; /* 0: of term 1 */
byte what[GENERATIONS + 1];
byte accepted[GENERATIONS + 1];
byte last;                 /* the highest generation that was proposed */
/* Of the joint one, if that is the last: the old members that the threshold counts, what they ask for, who holds it. */
byte heard, wanted_term, wanted_log_term, ready;
bit wanted_flush;
Said said[TERMS + 1];      /* term, generation: who said, as one that counts, that it has the record of this log */
byte adopted[TERMS + 1];   /* who said, in the generation of the votes, that it is in this log */
byte truth;                /* whose record is committed; 0: none */
byte truth_term;           /* the lowest term in which it is */

#define LOG_TERM(a) (acceptor[a].flush -> acceptor[a].end_owner : acceptor[a].owner)
#define WON(p) (proposer[p].log_term == WINNER)
#ifdef BUG_COUNTS_BEHIND_A_PROMISE
#define COUNTS(a, log_term, g) true
#else
#define COUNTS(a, log_term, g) (acceptor[a].term == log_term)
#endif
#ifdef BUG_TERM_OUTLIVES_ITS_GENERATION
#define IN_ITS_GENERATION(p, g) true
#else
#define IN_ITS_GENERATION(p, g) (proposer[p].generation == g)
#endif
#ifdef BUG_OLD_GENERATION_ACCEPTED
#define ANSWERS(g, asked) ((g) >= (asked))
#else
#define ANSWERS(g, asked) ((g) == (asked))
#endif

/* What acceptor a says of itself now, and what follows from that. */
inline say(a) {
  z = LOG_TERM(a); g = acceptor[a].generation;
  if
  :: !acceptor[a].filling && IS_MEMBER(what[g], a) ->
       for (k : 0 .. PROPOSERS) {
         if
         /* Rule 2; a term whose start is not committed dies with its generation. */
         :: WON(k) && !proposer[k].begun && proposer[k].term == z && acceptor[a].term == z && IN_ITS_GENERATION(k, g) ->
              adopted[z] = adopted[z] | (1 << a);
              if
              :: QUORUM(what[g], adopted[z]) -> proposer[k].begun = 1; adopted[z] = 0
              :: else
              fi
         :: else
         fi
       }
       k = 0;
       if
       :: acceptor[a].flush == 1 && COUNTS(a, z, g) && said[z].reached[g] != WINNER ->
            said[z].reached[g] = said[z].reached[g] | (1 << a);
            if
            :: QUORUM(what[g], said[z].reached[g]) ->
                 said[z].reached[g] = WINNER; /* who else says so changes nothing */
                 assert(truth == 0 || truth == acceptor[a].owner);
                 truth_term = (truth == 0 || z < truth_term -> z : truth_term);
                 truth = acceptor[a].owner;
                 for (k : 0 .. PROPOSERS) {
                   assert(!(WON(k) && proposer[k].term > z) || (proposer[k].start == 1 && proposer[k].owner == truth))
                 }
                 k = 0
            :: else
            fi
       :: else
       fi
  :: else
  fi;
  z = 0; g = 0
}

/* Acceptor a takes over a history, of owners x and y: cut at the fork point, then adopted. */
inline adopt(a) {
  if
  :: acceptor[a].owner != x -> acceptor[a].flush = 0
  :: else
  fi;
  acceptor[a].owner = x;
  acceptor[a].end_owner = y;
  x = 0; y = 0
}

inline vote(p, a) {
  acceptor[a].term = proposer[p].term;
  z = LOG_TERM(a);
  if
  :: proposer[p].votes == 0 || z > proposer[p].log_term ||
     (z == proposer[p].log_term && acceptor[a].flush > proposer[p].start) ->
       proposer[p].log_term = z;
       proposer[p].start = acceptor[a].flush;
       proposer[p].owner = (acceptor[a].flush -> acceptor[a].owner : proposer[p].term)
  :: else
  fi;
  z = 0;
  proposer[p].votes = proposer[p].votes | (1 << a);
  if
  :: QUORUM(what[proposer[p].generation], proposer[p].votes) ->
       for (k : 0 .. PROPOSERS) { assert(!WON(k) || proposer[k].term != proposer[p].term) }
       k = 0;
       /* Committed in an earlier term, whoever wrote it. (In a later one: that one's winner was looked at then.) */
       assert(truth == 0 || truth_term >= proposer[p].term || (proposer[p].start == 1 && proposer[p].owner == truth));
       proposer[p].log_term = WINNER;
       proposer[p].votes = 0
  :: else
  fi
}

/* Acceptor a accepts generation n. */
inline accept(a, n) {
  acceptor[a].generation = n;
  accepted[n] = accepted[n] | (1 << a);
  if
  :: a == NEWCOMER && what[n] == JOINT ->
#ifdef BUG_NEWCOMER_COUNTS_EMPTY
       acceptor[a].filling = 0
#else
       acceptor[a].filling = 1
#endif
  :: else
  fi;
  say(a)
}

#define HOLDS(a) (LOG_TERM(a) > wanted_log_term || (LOG_TERM(a) == wanted_log_term && acceptor[a].flush >= wanted_flush))
#ifdef BUG_NEWCOMER_COUNTS_EMPTY
#define FILLED true
#else
#define FILLED (MAJORITY(M_NEW, ready) && ((ready >> NEWCOMER) & 1))
#endif
#ifdef BUG_BUILT_ON_A_MINORITY
#define IN_FORCE(g) true
#else
#define IN_FORCE(g) QUORUM(what[g], accepted[g])
#endif

active proctype world() {
  byte a, b, g, k, n, p, x, y, z;
  d_step {
    for (a : 0 .. 2) {
      acceptor[a].generation = 1;
      acceptor[a].term = 1; acceptor[a].owner = 1; acceptor[a].end_owner = 1
    }
    a = 0;
    what[1] = OLD; accepted[1] = M_OLD; last = 1;
    proposer[0].term = 1; proposer[0].generation = 1; proposer[0].log_term = WINNER; proposer[0].owner = 1;
    proposer[0].begun = 1
  }
  do
  :: atomic {
       if :: a = 0 :: a = 1 :: a = 2 :: a = 3 fi;
       if :: p = 0 :: p = 1
#if PROPOSERS > 1
          :: p = 2
#endif
       fi;
       n = acceptor[a].generation;
       if
       /* -- elections. Proposers are numbered by their terms; two may take the same. The first one takes 2. */
       :: p > 0 && a == 0 && proposer[p].term == 0 && (p == 1 || proposer[p - 1].term != 0) ->
            if
            :: proposer[p].term = p + 1
            :: p > 1 -> proposer[p].term = proposer[p - 1].term
            fi;
            proposer[p].generation = 1;
            do
            :: proposer[p].generation < last -> proposer[p].generation++
            :: break
            od
       :: p > 0 && n > 0 && proposer[p].term != 0 && !WON(p) && acceptor[a].term < proposer[p].term &&
          !acceptor[a].filling && ANSWERS(n, proposer[p].generation) && IS_MEMBER(what[n], a) ->
            d_step { vote(p, a) }
       /* -- logs */
       :: n > 0 && IS_MEMBER(what[n], a) && WON(p) && acceptor[a].term <= proposer[p].term &&
          acceptor[a].end_owner != proposer[p].term ->
            d_step {
              acceptor[a].term = proposer[p].term;
              x = proposer[p].owner; y = proposer[p].term;
              adopt(a);
              say(a)
            }
       :: n > 0 && IS_MEMBER(what[n], a) && WON(p) && acceptor[a].end_owner == proposer[p].term && acceptor[a].flush == 0 &&
          (acceptor[a].term == proposer[p].term || acceptor[a].filling) && (proposer[p].start == 1 || proposer[p].begun) ->
            d_step { acceptor[a].flush = 1; say(a) }
       /* From another one, within its log term (rule 7). */
       :: n > 0 && IS_MEMBER(what[n], a) && p == 0 ->
            if :: b = 0 :: b = 1 :: b = 2 :: b = 3 fi;
            if
            :: b != a && acceptor[b].flush == 1 && LOG_TERM(b) >= LOG_TERM(a) &&
#ifndef BUG_CATCH_UP_AFTER_PROMISE
               (LOG_TERM(b) >= acceptor[a].term || acceptor[a].filling) &&
#endif
               (LOG_TERM(b) != LOG_TERM(a) || acceptor[a].flush == 0) ->
                 d_step {
                   x = acceptor[b].owner; y = LOG_TERM(b);
                   if
                   :: y > acceptor[a].term -> acceptor[a].term = y
                   :: else
                   fi;
                   adopt(a);
                   acceptor[a].flush = 1;
                   say(a)
                 }
            :: else
            fi;
            b = 0
       /* -- the change */
       :: p == 0 && a == 0 && last < GENERATIONS && IN_FORCE(last) ->
            if
            :: what[last] == OLD -> what[last + 1] = JOINT
            :: what[last] == JOINT && FILLED -> what[last + 1] = NEW
#ifdef UNDO
            :: what[last] == JOINT -> what[last + 1] = OLD
#endif
            :: else
            fi;
            if
            :: what[last + 1] != NOTHING ->
                 last++;
                 heard = 0; wanted_term = 0; wanted_log_term = 0; wanted_flush = 0; ready = 0
            :: else
            fi
       :: p == 0 && n < last && (n > 0 || (a == NEWCOMER && what[last] == JOINT)) &&
          (a == NEWCOMER || what[last] != JOINT || ((accepted[last] >> NEWCOMER) & 1)) ->
            d_step { accept(a, last) }
       /* The threshold: what any majority of the old members says of itself, once it has accepted the joint one. */
       :: p == 0 && what[last] == JOINT && QUORUM(JOINT, accepted[last]) && n == last && a != NEWCOMER &&
          !((heard >> a) & 1) && !MAJORITY(M_OLD, heard) ->
            d_step {
              z = LOG_TERM(a);
              if
              :: heard == 0 || z > wanted_log_term -> wanted_log_term = z; wanted_flush = acceptor[a].flush
              :: else ->
                   if
                   :: z == wanted_log_term && acceptor[a].flush > wanted_flush -> wanted_flush = acceptor[a].flush
                   :: else
                   fi
              fi;
              z = 0;
#ifndef BUG_THRESHOLD_WITHOUT_TERM
              if
              :: acceptor[a].term > wanted_term -> wanted_term = acceptor[a].term
              :: else
              fi;
#endif
              heard = heard | (1 << a)
            }
       /* Filled: it counts, and promises the threshold's term to nobody. */
       :: p == 0 && what[last] == JOINT && MAJORITY(M_OLD, heard) && n == last && HOLDS(a) && ((M_NEW >> a) & 1) &&
          !((ready >> a) & 1) ->
            d_step {
              acceptor[a].filling = 0;
              if
              :: acceptor[a].term < wanted_term -> acceptor[a].term = wanted_term
              :: else
              fi;
              ready = ready | (1 << a);
              say(a)
            }
       :: else
       fi;
       a = 0; p = 0; n = 0
     }
  od
}
