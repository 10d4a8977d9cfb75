/// Counts, for each of PE lanes, the thresholds of its channel that are at most the input, and maps the count to a value.
/// Latency: Stages + 1 cycles. Rate: one word of PE channels per cycle.
/// Back-pressure: nothing moves while an offered result is not taken; in_ready_o depends on out_ready_i.
/// Reset clears the channel counter and out_valid_o; out_data_o is meaningless until the first out_valid_o.
///
/// A pipelined binary search: a channel has 2**Stages - 1 sorted thresholds, and stage s looks up one of 2**s of them by
/// the s bits that are already known. The memory of lane p at stage s is the file `<FilePrefix>_<p>_<s>.hex` with, for
/// each group of PE channels in turn, 2**s words of ThresholdBits bits; shared thresholds are those of lane 0.
module thresholding #(
  parameter int unsigned Channels      = 4,
  parameter int unsigned PE            = 2,    // channels at a time, divides Channels
  parameter int unsigned InBits        = 8,    // bits of an input
  parameter bit          InSigned      = 1'b1,
  parameter int unsigned ThresholdBits = 9,    // two's complement, holds every input and every threshold
  parameter int unsigned Stages        = 2,    // bits of the count
  parameter bit          Shared        = 1'b0, // all channels have the same thresholds
  parameter int unsigned OutBits       = 2,    // bits of an output
  parameter int          OutBase       = 0,    // output for a count of zero
  parameter int          OutStep       = 1,    // added for each threshold reached
  parameter              FilePrefix    = ""
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,  // synchronous
  input  logic                  in_valid_i,
  output logic                  in_ready_o,
  input  logic [PE*InBits-1:0]  in_data_i,
  output logic                  out_valid_o,
  input  logic                  out_ready_i,
  output logic [PE*OutBits-1:0] out_data_o
);
  localparam int unsigned Fold     = Shared ? 1 : Channels / PE;
  localparam int unsigned FoldBits = Fold > 1 ? $clog2(Fold) : 1;

  if (Channels % PE != 0) begin : gen_wrong_fold
    $error("thresholding: PE has to divide Channels");
  end
  if (ThresholdBits < InBits + (InSigned ? 0 : 1) || Stages == 0) begin : gen_wrong_bits
    $error("thresholding: ThresholdBits has to hold a signed input, and Stages is at least 1");
  end

  logic                            en;
  logic [Stages-1:0]               valid_q;
  logic [Stages-1:0][FoldBits-1:0] fold_q;  // of the word that enters stage s

  assign en         = ~out_valid_o | out_ready_i;
  assign in_ready_o = en;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q     <= '0;
      out_valid_o <= 1'b0;
    end else if (en) begin
      {out_valid_o, valid_q} <= {valid_q, in_valid_i};
    end
  end

  if (Fold > 1) begin : gen_fold
    always_ff @(posedge clk_i) begin
      if (!rst_ni) fold_q[0] <= '0;
      else if (en & in_valid_i) fold_q[0] <= (fold_q[0] == FoldBits'(Fold - 1)) ? '0 : fold_q[0] + 1'b1;
    end
    for (genvar s = 1; s < Stages; s++) begin : gen_stage
      always_ff @(posedge clk_i) begin
        if (en) fold_q[s] <= fold_q[s-1];
      end
    end
  end else begin : gen_no_fold
    for (genvar s = 0; s < Stages; s++) begin : gen_stage
      assign fold_q[s] = '0;
    end
  end

  for (genvar p = 0; p < PE; p++) begin : gen_lane
    logic [Stages-1:0] count_d [Stages];  // bits known after stage s, in the low s + 1 bits

    for (genvar s = 0; s < Stages; s++) begin : gen_stage
      localparam File = $sformatf("%s_%0d_%0d.hex", FilePrefix, Shared ? 0 : p, s);

      logic signed [ThresholdBits-1:0] x_d, x_q, threshold_q;
      logic        [ThresholdBits-1:0] memory [Fold << s];
      logic                            reached;

      initial $readmemh(File, memory, 0, (Fold << s) - 1);

      if (s == 0) begin : gen_first
        assign x_d = InSigned ? ThresholdBits'($signed(in_data_i[p*InBits +: InBits]))
                              : ThresholdBits'(in_data_i[p*InBits +: InBits]);
        assign count_d[0] = Stages'(reached);
        always_ff @(posedge clk_i) begin
          if (en) threshold_q <= memory[fold_q[0]];
        end
      end else begin : gen_next
        localparam int unsigned AddressBits = $clog2(Fold << s);
        logic [s-1:0] known_q;
        assign x_d = gen_stage[s-1].x_q;
        assign count_d[s] = Stages'({known_q, reached});
        always_ff @(posedge clk_i) begin
          if (en) begin
            known_q     <= count_d[s-1][s-1:0];
            threshold_q <= memory[AddressBits'({fold_q[s], count_d[s-1][s-1:0]})];
          end
        end
      end

      always_ff @(posedge clk_i) begin
        if (en) x_q <= x_d;
      end
      assign reached = x_q >= threshold_q;
    end

    always_ff @(posedge clk_i) begin
      if (en) out_data_o[p*OutBits +: OutBits] <= OutBits'(OutBase + OutStep * $signed({1'b0, count_d[Stages-1]}));
    end
  end
endmodule
